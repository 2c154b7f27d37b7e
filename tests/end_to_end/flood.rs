//! A flood of half-open connections leaves established ones alone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forwarder_lab::client::Answer;
use forwarder_lab::client::http::Connection;
use forwarder_lab::client::syn::{SOURCES_V4, SOURCES_V6, SynFlood};
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Received};

use super::world::{HEADER, VIP, World, both_services, site};

const CONNECTIONS: usize = 1_000;
const WORKERS: usize = 4;
const SYNS: u64 = 2_000_000;
/// Fewer than any queue on the way holds: one that overflows would lose the clients' packets too,
/// which says nothing about the forwarder.
const BURST: u64 = 128;
/// A burst that is not all there by then has lost some.
const STRAGGLER: Duration = Duration::from_millis(100);
/// Far more than a few retransmissions take.
const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn established_connections_outlive_two_million_syns() {
    // The flood takes all of the machine's time; no backend shall seem dead for that.
    let header = HEADER.replace("timeout = \"5s\"", "timeout = \"20s\"");
    let world = World::run(site(), &header, &both_services("full-nat", |family| family));
    let vips = Family::ALL.map(|family| SocketAddr::new(family.vip(VIP), HTTP));
    for vip in vips {
        world.wait_for_all_backends(vip);
    }
    let site = &world.site;
    let attacker = site.lab().host("attacker").expect("host");
    site.plug(&attacker, "eth0", site.outside, &[])
        .expect("plug");
    for prefix in [SOURCES_V4, SOURCES_V6] {
        site.router
            .ip(&format!("route add blackhole {prefix}"))
            .expect("route");
    }
    let (from, to) = (
        attacker.mac("eth0").expect("MAC"),
        site.forwarder.mac("eth0").expect("MAC"),
    );

    let (mut open, over) = (Vec::new(), AtomicBool::new(false));
    site.client.run(|| {
        open.extend((0..CONNECTIONS).map(|number| Open::new(vips[number % 2])));
    });
    let received = Received::open(&site.forwarder, "eth0").expect("counter");
    let requests: usize = thread::scope(|scope| {
        let clients: Vec<_> = open
            .chunks_mut(CONNECTIONS / WORKERS)
            .map(|open| scope.spawn(|| keep_asking(open, &over)))
            .collect();
        attacker.run(|| {
            let mut flood = SynFlood::open("eth0", &from, &to).expect("raw socket");
            send_syns(&mut flood, &vips, &received);
        });
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().expect("every request is answered"))
            .sum()
    });
    assert!(
        requests >= 2 * CONNECTIONS,
        "only {requests} requests during the flood"
    );
    // What the flood has left behind makes room for new flows.
    for vip in vips {
        world.wait_for_all_backends(vip);
    }
}

/// Sends until the forwarder has received two million; some may be lost on the way.
#[expect(clippy::disallowed_methods, reason = "waits for a burst, in real time")]
fn send_syns(flood: &mut SynFlood, vips: &[SocketAddr; 2], received: &Received) {
    let before = received.packets().expect("counter");
    let mut there = before;
    while there - before < SYNS {
        for number in 0..BURST {
            flood.send(vips[number as usize % 2]).expect("send");
        }
        let (sent, all) = (Instant::now(), there + BURST);
        while there < all && sent.elapsed() < STRAGGLER {
            thread::yield_now();
            there = received.packets().expect("counter");
        }
    }
}

/// An established connection, and what its server said first.
struct Open {
    connection: Connection,
    first: Answer,
}

impl Open {
    fn new(server: SocketAddr) -> Self {
        let mut connection = Connection::open(server, LIMIT).expect("connect");
        let first = connection.get("/").expect("first answer");
        Self { connection, first }
    }
}

/// One request a second on every connection, each of which must be answered by the backend that
/// answered first. Returns how many.
#[expect(
    clippy::disallowed_methods,
    reason = "one request a second, in real time"
)]
fn keep_asking(open: &mut [Open], over: &AtomicBool) -> usize {
    let mut requests = 0;
    loop {
        let round = Instant::now();
        let last = over.load(Ordering::Relaxed);
        for Open { connection, first } in &mut *open {
            let answer = connection
                .get("/")
                .expect("an established connection is answered");
            assert_eq!(&answer, first, "the same backend, the same port");
            requests += 1;
        }
        if last {
            return requests;
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(round.elapsed()));
    }
}
