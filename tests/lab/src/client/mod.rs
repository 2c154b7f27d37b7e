//! Real clients. They use the namespace of the thread they run on: see [`crate::Namespace::run`].

pub mod arp;
pub mod chatter;
pub mod download;
pub mod handshake;
pub mod http;
pub mod icmp;
pub mod packet_socket;
pub mod probe;
pub mod syn;
pub mod udp;
pub mod visits;

use std::net::SocketAddr;
use std::time::Duration;

/// After so long without an answer a packet is sent again: the machine's own queues may overflow.
const AGAIN: Duration = Duration::from_secs(1);

/// Who answered, and whom it saw as the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name of the server.
    pub backend: String,
    /// The client as the server saw it.
    pub client: SocketAddr,
    /// The client as it knows itself.
    pub local: SocketAddr,
}

impl Answer {
    /// Whether the server saw the client's own address.
    pub fn client_address_kept(&self) -> bool {
        self.client.ip() == self.local.ip()
    }
}

/// The Internet checksum, RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
