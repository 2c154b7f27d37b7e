//! Datagrams at the ports of a pair that mean no good: refused by reason, told of once in a while, of no effect.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use forwarder_lab::client::packet_socket;
use forwarder_lab::{Family, Namespace, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Two};

/// Where the nodes tell each other of themselves, and of flows.
const PORTS: [u16; 2] = [4747, 4748];
/// Ethernet, IPv4 and UDP, before what a datagram says.
const BEFORE: usize = 42;
/// The kind, in what it says.
const KIND: usize = 3;
const ANSWER: u8 = 2;
const HELLO: u8 = 3;
const SYNC: u8 = 4;

/// Frames that the first node sends the other on the first path: to each port, of this kind.
fn record(two: &Two) -> [Vec<Vec<u8>>; 2] {
    let mut recorded = [Vec::new(), Vec::new()];
    let node = two.host(0);
    let socket = node
        .run(|| packet_socket::open("eth0", libc::ETH_P_ALL as u16))
        .expect("a packet socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let mut frame = [0; 2048];
    wait_until("both ports are spoken to", LIMIT, || {
        // Something to tell of.
        two.served();
        while let Ok(length) = socket.recv(&mut frame) {
            let frame = &frame[..length];
            for (at, port) in PORTS.iter().enumerate() {
                let to_port = frame.get(36..38) == Some(&port.to_be_bytes()[..]);
                let udp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
                let kind = [HELLO, SYNC][at];
                let sender = frame.get(BEFORE + 4) == Some(&0);
                if udp && to_port && sender && frame.get(BEFORE + KIND) == Some(&kind) {
                    recorded[at].push(frame.to_vec());
                }
            }
        }
        recorded.iter().all(|frames| frames.len() > 3)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    recorded
}

/// Sends datagrams from a host to the second node's end of the first path.
fn send(host: &Namespace, port: u16, datagrams: &[Vec<u8>]) {
    let to = SocketAddr::new(Family::V4.vip(3), port);
    let sent = host.run(|| -> std::io::Result<()> {
        let unspecified: IpAddr = [0, 0, 0, 0].into();
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
        for datagram in datagrams {
            socket.send_to(datagram, to)?;
        }
        Ok(())
    });
    sent.expect("it is sent");
}

/// What a genuine datagram can be made into.
fn forgeries(genuine: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, byte: u8| {
        let mut forged = genuine.to_vec();
        forged[at] = byte;
        forged
    };
    let mut all = vec![
        // Not ours, another version, no such kind, from itself, from a third node.
        b"GET / HTTP/1.0\r\n\r\n and so on, long enough".to_vec(),
        vec![0; 1400],
        with(2, 99),
        with(KIND, 99),
        with(4, 1),
        with(4, 7),
        // An answer to what was never asked.
        with(KIND, ANSWER),
        // Another key would have made another tag, or text.
        with(genuine.len() - 1, genuine[genuine.len() - 1] ^ 1),
        with(genuine.len() - 30, genuine[genuine.len() - 30] ^ 0x80),
        // From a process that nobody knows.
        with(9, genuine[9] ^ 0x55),
    ];
    let lengths = [0, 1, 3, 23, 24, 25, genuine.len() - 1];
    all.extend(lengths.map(|length| genuine[..length].to_vec()));
    all
}

/// What must not change: who is active, with which epoch, and what was told of flows.
fn held(two: &Two) -> [Value; 2] {
    [0, 1].map(|node| {
        let pair = two.pair(node);
        let group = &pair["groups"][0];
        serde_json::json!([
            group["role"],
            group["epoch"],
            pair["sync"]["complete"],
            pair["sync"]["swept"]
        ])
    })
}

#[test]
fn replayed_forged_cut_and_foreign_datagrams_change_nothing() {
    let two = Two::start("full-nat");
    two.wait_for([Some("active"), Some("standby")]);
    wait_until("all flows are told", LIMIT, || {
        [0, 1]
            .iter()
            .all(|node| two.pair(*node)["sync"]["complete"] == true)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    let recorded = record(&two);
    let before = held(&two);
    let replay = two
        .host(0)
        .run(|| packet_socket::open("eth0", 0))
        .expect("a packet socket");
    let wanted = [
        "length",
        "address",
        "foreign",
        "version",
        "kind",
        "sender",
        "forged",
        "replayed",
        "unacquainted",
    ];
    let mut refused = Value::Null;
    wait_until("each is refused for its reason", LIMIT, || {
        for (port, frames) in PORTS.into_iter().zip(&recorded) {
            for frame in frames {
                replay.send(frame).expect("it is sent");
            }
            let genuine = &frames[0][BEFORE..];
            // From the peer's address, and a third host's.
            send(two.host(0), port, &forgeries(genuine));
            send(&two.site.router, port, &[genuine.to_vec()]);
        }
        refused = two.pair(1)["refused"].clone();
        wanted
            .iter()
            .all(|reason| refused[reason].as_u64() > Some(1))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{refused}\n{}", two.diagnosis()));
    assert_eq!(held(&two), before, "{}", two.diagnosis());
    // Each of the two threads says so at once, and then once a minute.
    let log = two.node(1).log();
    let lines = log
        .lines()
        .filter(|line| line.contains("datagrams refused"));
    let lines = lines.count();
    assert!((1..=6).contains(&lines), "{lines} lines\n{log}");
    // The pair goes on as it should.
    two.run(0, &["failover"]);
    two.wait_for([Some("standby"), Some("active")]);
    two.served();
}
