use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;

use socket2::{SockFilter, SockRef};

use super::packet::{datagram, echo_request, payload, sort};
use super::*;

const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2)),
];
const VIP: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10)),
];
const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 7)),
];
const PORTS: (u16, u16) = (40_000, 53);

fn flow(source: IpAddr, destination: IpAddr, ports: (u16, u16)) -> Flow {
    Flow {
        local: Local {
            address: source,
            transport: Transport::Udp,
            number: ports.0,
        },
        vip: destination,
        port: ports.1,
    }
}

/// An ICMP error by somebody about a packet of the host.
fn error(from: IpAddr, host: IpAddr, [kind, code]: [u8; 2], about: &[u8]) -> Vec<u8> {
    let mut packet = echo_request(&flow(from, host, (0, 0)), &about[..about.len().min(64)]);
    let header = if from.is_ipv4() { 20 } else { 40 };
    packet[header..header + 2].copy_from_slice(&[kind, code]);
    packet
}

/// Whether the kernel hands a packet over.
fn passes(program: &[SockFilter], packet: &[u8]) -> bool {
    let (sender, receiver) = UnixDatagram::pair().expect("sockets");
    let attached = SockRef::from(&receiver).attach_filter(program);
    attached.expect("a program that the kernel takes");
    receiver.set_nonblocking(true).expect("a socket");
    sender.send(packet).expect("sent");
    receiver.recv(&mut [0; 2048]).is_ok()
}

#[test]
fn answers_and_errors_are_let_in_and_nothing_else() {
    let vips = BTreeSet::from(VIP);
    for (family, program) in [filter::from4(&vips), filter::from6(&vips)]
        .iter()
        .enumerate()
    {
        let (host, vip, other) = (HOST[family], VIP[family], OTHER[family]);
        let asked = datagram(&flow(host, vip, PORTS), b"?");
        let [unreachable, exceeded, other_error] =
            [[[3, 3], [11, 0], [5, 1]], [[1, 4], [3, 0], [2, 0]]][family];
        for (packet, let_in) in [
            (datagram(&flow(vip, host, (53, 40_000)), b"!"), true),
            (echo_request(&flow(vip, host, (7, 0)), b"!"), true),
            (datagram(&flow(other, host, (53, 40_000)), b"!"), false),
            (echo_request(&flow(other, host, (7, 0)), b"!"), false),
            (error(other, host, unreachable, &asked), true),
            (error(other, host, exceeded, &asked), true),
            (error(other, host, other_error, &asked), false),
            (asked[..8].to_vec(), false),
        ] {
            assert_eq!(passes(program, &packet), let_in, "{family} {packet:?}");
        }
    }
    assert!(!passes(&filter::nothing(), b"anything"));
}

#[test]
fn thousands_of_vips_have_room() {
    let vip = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(0xcb00_7100 + number * 7));
    let vip6 = |number: u32| {
        IpAddr::V6(Ipv6Addr::from_bits(
            (0x2001_0db8 << 96) + u128::from(number),
        ))
    };
    let vips: BTreeSet<_> = (0..4096)
        .flat_map(|number| [vip(number), vip6(number)])
        .collect();
    for number in [0, 1, 2047, 4095] {
        let answer = datagram(&flow(vip(number), HOST[0], (53, 40_000)), b"!");
        assert!(passes(&filter::from4(&vips), &answer), "{number}");
        let answer = datagram(&flow(vip6(number), HOST[1], (53, 40_000)), b"!");
        assert!(passes(&filter::from6(&vips), &answer), "{number}");
    }
    let other = datagram(&flow(OTHER[0], HOST[0], (53, 40_000)), b"!");
    assert!(!passes(&filter::from4(&vips), &other));
}

#[test]
fn what_comes_back_finds_who_waits() {
    for family in [0, 1] {
        let (host, vip, other) = (HOST[family], VIP[family], OTHER[family]);
        let asked = flow(host, vip, PORTS);
        let answer = datagram(&flow(vip, host, (53, 40_000)), b"answer");
        let sorted = sort(&answer).expect("somebody's");
        assert_eq!(sorted, (asked.local, vip, Reply::Packet(answer.clone())));
        assert_eq!(payload(&asked, &answer), Some(&b"answer"[..]));
        let other_port = flow(host, vip, (40_000, 54));
        assert_eq!(payload(&other_port, &answer), None);

        let unreachable = [[3, 3], [1, 4]][family];
        let about = error(vip, host, unreachable, &datagram(&asked, b"?"));
        let (local, with, reply) = sort(&about).expect("somebody's");
        assert_eq!((local, with), (asked.local, vip));
        let Reply::Error(said) = reply else {
            panic!("{reply:?}");
        };
        let text = format!("{vip} answers \"port unreachable\"");
        assert_eq!(ProbeError::from(said), ProbeError::Refused(text));

        let exceeded = [[11, 0], [3, 0]][family];
        let about = error(other, host, exceeded, &datagram(&asked, b"?"));
        let Some((_, _, Reply::Error(said))) = sort(&about) else {
            panic!("nobody's");
        };
        let text = format!("{other} answers \"time exceeded\"");
        assert_eq!(ProbeError::from(said), ProbeError::Unreachable(text));
        for whole in [answer, about] {
            for end in 0..whole.len() {
                sort(&whole[..end]);
                payload(&asked, &whole[..end]);
            }
        }
    }
}

#[test]
fn a_port_that_says_nothing_is_nobody_elses() {
    for kind in [(Type::STREAM, Protocol::TCP), (Type::DGRAM, Protocol::UDP)] {
        let address = IpAddr::from([127, 0, 0, 1]);
        let (socket, port) = silent_port(address, kind.0, kind.1).expect("a port");
        let again = Socket::new(Domain::IPV4, kind.0, Some(kind.1)).expect("a socket");
        let taken = again.bind(&SocketAddr::new(address, port).into());
        assert_eq!(
            taken.expect_err("taken").kind(),
            io::ErrorKind::AddrInUse,
            "{kind:?}"
        );
        drop(socket);
    }
}
