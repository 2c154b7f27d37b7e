//! An echo request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::ProbeError;

/// What tells an answer from those of others.
pub const PAYLOAD: &[u8; 16] = b"forwarder health";
const HEADER: usize = 8;

/// Sends a request and waits for its reply.
pub async fn ask(to: IpAddr) -> Result<(), ProbeError> {
    let (socket, identity) = (open(to)?, next_identity());
    // Connected: replies of nobody else, and errors about what was sent.
    socket.connect(&SocketAddr::new(to, 0).into())?;
    // There is no type for it; for what is done from here on, a datagram is a datagram.
    let socket = UdpSocket::from_std(socket.into())?;
    socket.send(&request(to, identity)).await?;
    let mut packet = [0; 256];
    loop {
        let length = socket.recv(&mut packet).await?;
        if is_reply(to, packet.get(..length).unwrap_or(&packet), identity) {
            return Ok(());
        }
    }
}

/// A raw socket (CAP_NET_RAW), or else a ping socket (`net.ipv4.ping_group_range`).
fn open(to: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let raw = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol));
    match raw {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let ping = Type::DGRAM.nonblocking().cloexec();
            // Of both errors the first says what is missing.
            Socket::new(domain, ping, Some(protocol)).map_err(|_| error)
        }
        raw => raw,
    }
}

/// Identifier and sequence number in one: each request has another.
pub fn next_identity() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A ping socket puts an identifier of its own in; the sequence number stays.
fn request(to: IpAddr, identity: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(identity.to_be_bytes());
    packet.extend(identity.to_be_bytes());
    packet.extend(PAYLOAD);
    if to.is_ipv4() {
        // The kernel does it for IPv6 alone.
        let checksum = checksum(&packet);
        packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether what was read is the reply. A raw IPv4 socket gives the IP header, too.
fn is_reply(from: IpAddr, packet: &[u8], identity: u16) -> bool {
    let header = match packet.first() {
        Some(first) if from.is_ipv4() && first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(header..) else {
        return false;
    };
    let kind = if from.is_ipv4() { 0 } else { 129 };
    message.first() == Some(&kind)
        && message.get(6..HEADER) == Some(&identity.to_be_bytes())
        && message.get(HEADER..) == Some(PAYLOAD)
}
