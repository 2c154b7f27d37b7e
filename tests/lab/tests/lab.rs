//! The lab itself, without a forwarder: plain routing between its hosts.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use forwarder_lab::client::{http, icmp, udp};
use forwarder_lab::site::{BACKENDS, ECHO, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Disturbance, Family, Lab, Site, wait_until};

const SOON: Duration = Duration::from_secs(120);

/// Answers of the backends must not need the forwarder, which is not running.
fn site() -> Site {
    let vips = Family::ALL.map(|family| family.vip(10));
    let site = Site::new(&vips, &Family::ALL.map(|family| family.vip(11))).expect("build the site");
    // Backends answer by the router here.
    for backend in &site.backends {
        backend
            .ip("route replace 0.0.0.0/0 via 192.0.2.1\nroute replace ::/0 via 2001:db8:2::1")
            .expect("routes");
    }
    site
}

#[test]
fn clients_reach_servers_by_plain_routing() {
    let site = site();
    for family in Family::ALL {
        for (index, name) in (0..).zip(BACKENDS) {
            let web = SocketAddr::new(family.backend(index), HTTP_REWRITTEN);
            let answer = site.client.run(|| http::get(web, "/", SOON)).expect("http");
            assert_eq!(answer.backend, name);
            assert!(answer.client_address_kept(), "{answer:?}");
            assert_eq!(answer.client, answer.local);
            let echo = SocketAddr::new(family.backend(index), ECHO);
            for length in [0, 1400, 4000] {
                let answer = site
                    .client
                    .run(|| udp::request(echo, length, SOON))
                    .expect("udp");
                assert_eq!(
                    (answer.backend.as_str(), answer.client),
                    (name, answer.local)
                );
            }
        }
        site.client
            .run(|| icmp::ping(family.outside(), SOON))
            .expect("ping");
    }
}

#[test]
fn bytes_are_checked_both_ways() {
    let site = site();
    let web = SocketAddr::new(Family::V4.backend(0), HTTP);
    site.client.run(|| {
        let mut connection = http::Connection::open(web, SOON).expect("open");
        connection.download(3_000_001).expect("download");
        connection.upload(3_000_001).expect("upload");
        connection
            .get("/again")
            .expect("the connection is kept alive");
    });
}

/// A node that takes over calls for every address at once; nobody is told to come again a second later.
#[test]
fn two_hundred_may_knock_before_one_is_let_in() {
    let site = site();
    let address = SocketAddr::new([127, 0, 0, 1].into(), 8_888);
    let listener = site.client.listen(address).expect("a listener");
    let patience = Duration::from_secs(10);
    let came: Vec<_> = site.client.run(|| {
        let each = (0..200).map(|_| TcpStream::connect_timeout(&address, patience));
        each.collect::<Result<_, _>>().expect("all come")
    });
    drop((came, listener));
}

#[test]
fn health_and_death_are_seen_by_clients() {
    let mut site = site();
    let web = SocketAddr::new(Family::V6.backend(1), HTTP);
    let health = |site: &Site| site.client.run(|| http::get(web, "/health", SOON)).is_ok();
    assert!(health(&site));
    site.server(1).expect("runs").set_health(503);
    assert!(!health(&site));
    site.server(1).expect("runs").set_health(200);
    site.connect(1, false).expect("cut");
    let short = Duration::from_millis(300);
    assert!(site.client.run(|| http::get(web, "/", short)).is_err());
    site.connect(1, true).expect("mend");
    site.backends[1]
        .ip("route replace ::/0 via 2001:db8:2::1")
        .expect("route");
    wait_until("the backend is back", SOON, || health(&site)).expect("back");
    site.stop_server(1);
    assert!(!health(&site));
}

/// Two hosts on a segment of their own, each with a socket that sends to the other's.
struct Cable {
    sockets: [UdpSocket; 2],
    sent: u64,
    begin: Instant,
}

impl Cable {
    const DEVICE: &str = "cable";

    #[expect(clippy::disallowed_methods, reason = "delays are real")]
    fn new(site: &Site) -> Self {
        let segment = site.segment().expect("a segment");
        let ends = [(&site.client, "10.9.0.1"), (&site.router, "10.9.0.2")];
        for (host, address) in ends {
            site.plug(host, Self::DEVICE, segment, &[format!("{address}/24")])
                .expect("plug it in");
        }
        let sockets = [0, 1].map(|end| {
            let ((host, own), (peer, other)) = (ends[end], ends[1 - end]);
            // Who is not heard can't be asked for its address.
            let mac = peer.mac(Self::DEVICE).expect("a MAC address");
            let neighbour =
                format!("neighbour replace {other} lladdr {mac} dev cable nud permanent");
            host.ip(&neighbour).expect("a neighbour");
            let socket = host.run(|| UdpSocket::bind((own, 7))).expect("a socket");
            socket.connect((other, 7)).expect("connect");
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        });
        Self {
            sockets,
            sent: 0,
            begin: Instant::now(),
        }
    }

    /// Sends the next number, and the time.
    fn send(&mut self, end: usize) {
        self.sent += 1;
        let micros = self.begin.elapsed().as_micros() as u64;
        let datagram = [self.sent, micros].map(u64::to_be_bytes).concat();
        self.sockets[end].send(&datagram).expect("send");
    }

    /// The numbers that have come, and how long each took at most.
    fn receive(&self, end: usize) -> Vec<(u64, Duration)> {
        let mut all = Vec::new();
        let mut datagram = [0; 16];
        while self.sockets[end].recv(&mut datagram).is_ok() {
            let word = |at: usize| datagram[at..at + 8].try_into().map(u64::from_be_bytes);
            let sent = Duration::from_micros(word(8).expect("a time"));
            all.push((word(0).expect("a number"), self.begin.elapsed() - sent));
        }
        all
    }
}

#[test]
fn a_relay_loses_repeats_delays_and_reorders() {
    let site = site();
    let mut cable = Cable::new(&site);
    let ends = || [(&site.client, Cable::DEVICE), (&site.router, Cable::DEVICE)];
    let relay = |one, other| site.relay(ends(), [one, other]).expect("a relay");
    let none = Disturbance::default();

    let loses = Disturbance { loss: 100, ..none };
    let repeats = Disturbance { twice: 100, ..none };
    let running = relay(loses, repeats);
    let mut twice = Vec::new();
    wait_until("what comes comes twice", SOON, || {
        cable.send(0);
        cable.send(1);
        twice.extend(cable.receive(0).iter().map(|(number, _)| *number));
        twice.windows(2).any(|pair| pair[0] == pair[1])
    })
    .unwrap_or_else(|error| panic!("{error:#}: {twice:?}"));
    let through = cable.receive(1);
    assert!(through.is_empty(), "{through:?}");
    drop(running);

    let delay = [100, 200].map(Duration::from_millis);
    let running = relay(Disturbance { delay, ..none }, none);
    let mut late = Vec::new();
    wait_until("some overtake others", SOON, || {
        (0..10).for_each(|_| cable.send(0));
        late.extend(cable.receive(1));
        !late.is_sorted_by_key(|(number, _)| *number)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {late:?}"));
    assert!(late.iter().all(|(_, took)| *took >= delay[0]), "{late:?}");
    drop(running);

    let running = relay(Disturbance { loss: 30, ..none }, none);
    let (before, mut seen) = (cable.sent, Vec::new());
    wait_until("some are lost and others are not", SOON, || {
        cable.send(0);
        let new = cable.receive(1).into_iter().map(|(number, _)| number);
        seen.extend(new.filter(|number| *number > before));
        seen.windows(2).any(|pair| pair[0] + 1 < pair[1])
    })
    .unwrap_or_else(|error| panic!("{error:#}: {seen:?}"));
    drop(running);

    site.replug(ends()).expect("plug them in as before");
    let before = cable.sent;
    wait_until("it is a plain cable again", SOON, || {
        cable.send(0);
        cable.receive(1).iter().any(|(number, _)| *number > before)
    })
    .expect("a plain cable");
}

#[test]
fn nothing_is_left_behind() {
    let site = site();
    let (prefix, directory) = (site.lab().prefix().to_owned(), site.directory().to_owned());
    let ours = |directory: &str| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count()
    };
    assert_eq!(ours("/run/netns"), 7);
    assert!(directory.exists());
    let mut sleeper = site
        .client
        .command("sleep")
        .arg("1000")
        .spawn()
        .expect("sleep");
    drop(site);
    assert_eq!(ours("/run/netns"), 0);
    assert!(!directory.exists());
    assert!(
        !sleeper.wait().expect("wait").success(),
        "the lab's processes are ended"
    );
}

#[test]
fn what_a_dead_run_left_is_swept_and_others_are_not() {
    let dead = std::process::Command::new("true")
        .spawn()
        .and_then(|mut child| {
            let id = child.id();
            child.wait().map(|_| id)
        });
    let dead = format!("fwd-{}-0-left", dead.expect("a process that has ended"));
    let living = format!("fwd-1-0-living{}", std::process::id());
    let foreign = format!("fwd-x{}", std::process::id());
    let ip = |action: &str, name: &str| {
        let status = std::process::Command::new("ip")
            .args(["netns", action, name])
            .status();
        assert!(status.expect("ip runs").success());
    };
    for name in [&dead, &living, &foreign] {
        ip("add", name);
    }
    let lab = Lab::new();
    // Another lab may be about to remove the same.
    let exists = |name: &String| Path::new("/run/netns").join(name).exists();
    let swept = wait_until("the dead run's is swept", SOON, || !exists(&dead));
    let found = [&living, &foreign].map(exists);
    for name in [&living, &foreign] {
        ip("delete", name);
    }
    lab.expect("make a lab");
    swept.expect("swept");
    assert_eq!(found, [true, true]);
}
