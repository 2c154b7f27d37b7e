//! Asks both ends of a TCP connection that is forgotten where they stand, so that they can be told that it is over.
//!
//! A reset counts only with the sequence number that its receiver expects, and nobody keeps those: the packet path
//! would have to write them with every packet. Whoever has a connection answers a SYN on it with an ACK that says
//! them (a challenge ACK, RFC 5961 section 4), and the packet path answers that with a reset.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use forwarder_common::protocol;
use log::debug;
use socket2::{Domain, Protocol, Socket, Type};

/// A segment of one end, as the other knows it: from, to.
pub type Segment = [SocketAddr; 2];

/// So many connections at most are asked about after one walk; the others learn of it when they next speak.
pub const MOST: usize = 4_096;

const TCP_LENGTH: usize = 20;
const SYN: u8 = 2;

/// Sends a SYN from each end to the other.
pub fn ask(segments: &[Segment]) {
    for (ipv6, domain) in [(false, Domain::IPV4), (true, Domain::IPV6)] {
        let mut of_family = segments
            .iter()
            .filter(|[from, _]| from.is_ipv6() == ipv6)
            .peekable();
        if of_family.peek().is_none() {
            continue;
        }
        // Whose header is in the packet already.
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let sent = Socket::new(domain, Type::RAW.cloexec(), Some(raw))
            .and_then(|socket| of_family.try_for_each(|segment| send(&socket, *segment)));
        if let Err(error) = sent {
            debug!("ends of quiet connections can't be asked: {error}");
        }
    }
}

fn send(socket: &Socket, [from, to]: Segment) -> io::Result<()> {
    let tcp = syn(from, to);
    let packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [&ipv4(from, to)[..], &tcp].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [&ipv6(from, to)[..], &tcp].concat(),
        _ => return Ok(()),
    };
    let way = SocketAddr::new(to.ip(), 0);
    match socket.send_to(&packet, &way.into()) {
        // No route there, or a queue is full: it learns of it later.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// The header's checksum is the kernel's to fill in, and so is the identification.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[3] = 20 + TCP_LENGTH as u8;
    header[8] = 64;
    header[9] = protocol::TCP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    header
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr) -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[5] = TCP_LENGTH as u8;
    header[6] = protocol::TCP;
    header[7] = 64;
    header[8..24].copy_from_slice(&from.octets());
    header[24..].copy_from_slice(&to.octets());
    header
}

fn syn(from: SocketAddr, to: SocketAddr) -> [u8; TCP_LENGTH] {
    let mut segment = [0; TCP_LENGTH];
    segment[..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = SYN;
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let pseudo = [0, protocol::TCP, 0, TCP_LENGTH as u8];
    let all = [&octets(from.ip())[..], &octets(to.ip()), &pseudo, &segment].concat();
    let words = all.chunks_exact(2);
    let mut sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right() {
        for ends in [
            ["203.0.113.10:80", "198.51.100.7:40000"],
            ["[2001:db8::10]:80", "[2001:db8:1::7]:40000"],
        ] {
            let [from, to] = ends.map(|end| end.parse::<SocketAddr>().expect("an end"));
            let segment = syn(from, to);
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let all = [
                octets(from.ip()),
                octets(to.ip()),
                vec![0, 6, 0, 20],
                segment.to_vec(),
            ];
            let all = all.concat();
            let words = all
                .chunks_exact(2)
                .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1]));
            assert_eq!(words.sum::<u64>() % 0xffff, 0, "{ends:?}");
        }
    }
}
