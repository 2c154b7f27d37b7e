//! Packets for `forwarder trace`: from words to a frame, from a frame to words, out of capture files.
//!
//! Both ways lead over [`Packet`], so what is read from a capture can be typed again and changed.

mod build;
pub mod capture;
mod dissect;
mod words;

pub use build::build;
pub use dissect::{Dissected, dissect};
pub use words::{WordsError, parse};

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};

use crate::core::key::mac_text;

/// What TTL or hop limit a packet has when none is said.
const TTL: u8 = 64;

/// TCP flags by name, lowest bit first.
const FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];
/// The SYN flag.
const SYN: u8 = 1 << 1;

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it carries.
    pub kind: Kind,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's "don't fragment".
    pub df: bool,
    /// Length of the IP packet, bytes; `None`: headers only.
    pub length: Option<u16>,
    /// Which fragment it is.
    pub fragment: Option<Fragment>,
    /// VLAN ids, outer first; at most three.
    pub vlans: Vec<u16>,
    /// Destination MAC address; `None`: the interface's.
    pub to: Option<[u8; 6]>,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Source port, destination port, flags.
    Tcp(u16, u16, u8),
    /// Source port, destination port.
    Udp(u16, u16),
    /// An echo request.
    Echo,
    /// An echo reply.
    EchoReply,
    /// An ICMP error about a packet.
    Error(Message, Box<Packet>),
    /// A question for the destination's MAC address: ARP, or a neighbour solicitation.
    Arp,
    /// IP in IP.
    Ipip(Box<Packet>),
    /// IP in UDP, with its ports.
    Gue(u16, u16, Box<Packet>),
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Host or address unreachable.
    Unreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Too big; the MTU that would fit.
    TooBig(u16),
    /// TTL or hop limit exceeded.
    TimeExceeded,
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in bytes, a multiple of 8; 0: the first.
    pub offset: u16,
}

impl Packet {
    /// Whether its addresses are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Source and destination port of TCP and UDP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match &self.kind {
            Kind::Tcp(source, destination, _)
            | Kind::Udp(source, destination)
            | Kind::Gue(source, destination, _) => Some((*source, *destination)),
            _ => None,
        }
    }

    /// Whether it is TCP and begins a connection.
    pub fn is_syn(&self) -> bool {
        matches!(self.kind, Kind::Tcp(_, _, SYN))
    }

    /// `tcp`, `udp` …
    pub fn protocol(&self) -> &'static str {
        match self.kind {
            Kind::Tcp(..) => "tcp",
            Kind::Udp(..) => "udp",
            Kind::Echo | Kind::EchoReply | Kind::Error(..) => "icmp",
            Kind::Arp => "arp",
            Kind::Ipip(_) => "ipip",
            Kind::Gue(..) => "gue",
        }
    }

    /// Whether "don't fragment" is set when nothing is said.
    fn default_df(ipv6: bool, fragment: Option<Fragment>) -> bool {
        !ipv6 && fragment.is_none()
    }

    /// An address with the port, where there is one.
    fn end(&self, source: bool) -> String {
        let address = if source {
            self.source
        } else {
            self.destination
        };
        match self.ports() {
            Some((from, to)) => {
                SocketAddr::new(address, if source { from } else { to }).to_string()
            }
            None => address.to_string(),
        }
    }
}

/// The words that [`parse`] reads. What is as usual is left out.
impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (source, destination) = (self.end(true), self.end(false));
        write!(f, "{} {source} -> {destination}", self.protocol())?;
        if let Kind::Tcp(_, _, flags) = self.kind {
            if flags == 0 {
                f.write_str(" no-flags")?;
            }
            let set = (0..).zip(FLAGS).filter(|(bit, _)| flags >> bit & 1 == 1);
            for (_, name) in set {
                write!(f, " {name}")?;
            }
        }
        match &self.kind {
            Kind::EchoReply => f.write_str(" echo-reply")?,
            Kind::Error(message, _) => write!(f, " {message}")?,
            _ => (),
        }
        if self.ttl != TTL && self.kind != Kind::Arp {
            write!(f, " ttl {}", self.ttl)?;
        }
        match (self.df, Self::default_df(self.is_ipv6(), self.fragment)) {
            (true, false) => f.write_str(" df")?,
            (false, true) if self.kind != Kind::Arp => f.write_str(" no-df")?,
            _ => (),
        }
        if let Some(length) = self.length {
            write!(f, " length {length}")?;
        }
        match self.fragment {
            Some(Fragment { offset: 0 }) => f.write_str(" fragment first")?,
            Some(Fragment { offset }) => write!(f, " fragment {offset}")?,
            None => (),
        }
        for vlan in &self.vlans {
            write!(f, " vlan {vlan}")?;
        }
        if let Some(mac) = self.to {
            write!(f, " to {}", mac_text(mac))?;
        }
        match &self.kind {
            Kind::Error(_, about) => write!(f, " quoting {about}"),
            Kind::Ipip(inner) | Kind::Gue(_, _, inner) => write!(f, " carrying {inner}"),
            _ => Ok(()),
        }
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::PortUnreachable => f.write_str("port-unreachable"),
            Self::TooBig(mtu) => write!(f, "too-big {mtu}"),
            Self::TimeExceeded => f.write_str("time-exceeded"),
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
