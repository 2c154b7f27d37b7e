//! A flood of half-open connections leaves established ones alone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forwarder_lab::client::http::{self, Connection};
use forwarder_lab::client::syn::{SOURCES_V4, SOURCES_V6, SynFlood};
use forwarder_lab::client::{Answer, udp};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Namespace, Received, Site};

use super::world::{HEADER, VIP, World, both_services, site, virtual_server};

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
    let attacker = attacker(site);

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
            let mut flood = flood(&attacker, site);
            send_syns(&mut flood, &vips, &received, SYNS);
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

/// How many SYNs push every half-open flow of a small table out several times.
const SMALL: u64 = 150_000;
/// Flows of each kind at the VIP that is left alone.
const FLOWS: usize = 40;

#[test]
fn a_flood_on_one_vip_leaves_another_alone() {
    let header = HEADER
        .replace("timeout = \"1s\"", "timeout = \"10s\"")
        .replace("flows = 200000", "flows = 20000");
    let mut config = both_services("full-nat", |family| family);
    for family in Family::ALL {
        for (name, port, protocol) in [("web", HTTP, "tcp"), ("echo", ECHO, "udp")] {
            let more = format!("pool = \"{name}-{family}\"\nsnat = \"automap\"");
            let (name, vip) = (format!("calm-{name}-{family}"), family.vip(VIP + 1));
            config += &virtual_server(&name, "full-nat", vip, port, protocol, &more);
        }
    }
    let world = World::run(site(), &header, &config);
    let at = |number, port| Family::ALL.map(|family| SocketAddr::new(family.vip(number), port));
    let (flooded, web, echo) = (at(VIP, HTTP), at(VIP + 1, HTTP), at(VIP + 1, ECHO));
    for server in flooded.into_iter().chain(web) {
        world.wait_for_all_backends(server);
    }
    let site = &world.site;
    let attacker = attacker(site);
    let (mut open, mut sockets) = (Vec::new(), Vec::new());
    site.client.run(|| {
        open.extend((0..FLOWS).map(|number| Open::new(web[number % 2])));
        sockets.extend((0..FLOWS).map(|number| Asked::new(echo[number % 2])));
    });
    let received = Received::open(&site.forwarder, "eth0").expect("counter");
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::Relaxed);
    let (new, datagrams, repeated) = thread::scope(|scope| {
        let requests = scope.spawn(|| keep_asking(&mut open, &over));
        let datagrams = scope.spawn(|| {
            let (mut sent, mut repeated) = (0, 0);
            while !is_over() || sent < FLOWS {
                for socket in &mut sockets {
                    repeated += socket.ask();
                    sent += 1;
                }
            }
            (sent, repeated)
        });
        let new = scope.spawn(|| {
            site.client.run(|| {
                let mut new = 0;
                while !is_over() || new < FLOWS {
                    http::get(web[new % 2], "/", LIMIT).expect("a new connection is answered");
                    new += 1;
                }
                new
            })
        });
        attacker.run(|| send_syns(&mut flood(&attacker, site), &flooded, &received, SMALL));
        over.store(true, Ordering::Relaxed);
        let old = requests.join().expect("every request is answered");
        assert!(old >= FLOWS);
        let (datagrams, repeated) = datagrams.join().expect("every datagram is answered");
        let new = new.join().expect("every connection is answered");
        (new, datagrams, repeated)
    });
    println!("{new} new connections; {datagrams} datagrams, {repeated} sent again");
    // Nothing was refused for want of room, and no packet of a flow found the flow gone.
    let drops = world
        .forwarder
        .run(&["drops", "-o", "json"])
        .expect("drops");
    let drops = String::from_utf8_lossy(&drops.stdout).into_owned();
    for reason in [
        "drop-no-flow",
        "drop-flow-table-full",
        "drop-snat-exhausted",
    ] {
        assert!(!drops.contains(reason), "{drops}");
    }
}

/// A host that only sends, on the clients' side of the forwarder.
fn attacker(site: &Site) -> Namespace {
    let attacker = site.lab().host("attacker").expect("host");
    site.plug(&attacker, "eth0", site.outside, &[])
        .expect("plug");
    for prefix in [SOURCES_V4, SOURCES_V6] {
        site.router
            .ip(&format!("route add blackhole {prefix}"))
            .expect("route");
    }
    attacker
}

/// The attacker's socket, opened where it runs.
fn flood(attacker: &Namespace, site: &Site) -> SynFlood {
    let (from, to) = (
        attacker.mac("eth0").expect("MAC"),
        site.forwarder.mac("eth0").expect("MAC"),
    );
    SynFlood::open("eth0", &from, &to).expect("raw socket")
}

/// A socket that datagrams are sent from, and what its server said first.
struct Asked {
    socket: udp::Socket,
    first: Answer,
}

impl Asked {
    fn new(server: SocketAddr) -> Self {
        let mut socket = udp::Socket::open(server, PATIENCE).expect("a socket");
        let mut request = || socket.request(100).ok();
        let first = (0..REPEATS).find_map(|_| request()).expect("first answer");
        Self { socket, first }
    }

    /// Asks once more, again if a queue on the way was full: how often. The same backend has to answer, and
    /// see the same port.
    fn ask(&mut self) -> usize {
        for repeated in 0..REPEATS {
            if let Ok(answer) = self.socket.request(100) {
                assert_eq!(answer, self.first, "the same backend, the same port");
                return repeated;
            }
        }
        panic!("no answer to {REPEATS} datagrams");
    }
}

/// For the answer to a datagram.
const PATIENCE: Duration = Duration::from_secs(5);
/// Datagrams that may be lost on the way one after the other.
const REPEATS: usize = 12;

/// Sends until the forwarder has received so many; some may be lost on the way.
#[expect(clippy::disallowed_methods, reason = "waits for a burst, in real time")]
fn send_syns(flood: &mut SynFlood, vips: &[SocketAddr; 2], received: &Received, syns: u64) {
    let before = received.packets().expect("counter");
    let mut there = before;
    while there - before < syns {
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
