//! The path from the interface to the verdict.

use forwarder_common::counter::Direction;
use forwarder_common::interface::flags::{ACTIVE, TX};
use forwarder_common::protocol::{ICMP, ICMPV6, TCP, UDP};
use forwarder_common::{Interface, Reason};

use crate::packet::{Fault, Fragment, Frame, Ip, ethertype, tcp, word};
use crate::tables::{FragmentId, Hop, Tables, Tuple};
use crate::wire;

/// What the program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS`.
    Pass,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_TX`.
    Tx,
    /// `XDP_REDIRECT` to an interface.
    Redirect(u32),
}

/// What is counted besides the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Virtual server or egress rule, with the packet's direction.
    pub server: Option<(u32, Direction)>,
    /// Backend, same direction.
    pub backend: Option<u32>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The verdict.
    pub action: Action,
    /// The frame as it leaves or passes; of a dropped packet as it came.
    pub frame: Vec<u8>,
    /// Why; `None`: the interface is not ours and nothing is counted.
    pub reason: Option<Reason>,
    /// What else is counted.
    pub charge: Charge,
}

/// The kernel's routing answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fib {
    /// Local, unreachable, or not to be forwarded.
    Elsewhere,
    /// By this interface, but the neighbour's MAC is not known.
    NoNeighbour(u32),
    /// By this link.
    Hop(Hop),
}

/// What the model cannot know by itself.
pub trait Environment {
    /// Whether the rate guard of a virtual server lets a new flow in now.
    fn admits(&mut self, id: u32) -> bool;
    /// The route of a packet.
    fn route(&mut self, tuple: &Tuple) -> Fib;
}

/// How a packet ends.
pub(crate) struct End {
    pub reason: Reason,
    /// Frame and egress interface of what is sent.
    pub sent: Option<(Vec<u8>, u32)>,
    pub charge: Charge,
}

impl End {
    pub fn sent(reason: Reason, frame: Vec<u8>, ifindex: u32, charge: Charge) -> Self {
        Self {
            reason,
            sent: Some((frame, ifindex)),
            charge,
        }
    }
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            sent: None,
            charge: Charge::default(),
        }
    }
}

/// A value, or the end of the path.
pub(crate) type Step<T> = Result<T, End>;

/// A packet on its way.
#[derive(Clone)]
pub(crate) struct Packet {
    pub ifindex: u32,
    pub interface: Interface,
    pub frame: Frame,
    pub ip: Ip,
    pub tuple: Tuple,
}

impl Packet {
    /// TCP flags, none if there is no TCP header.
    pub fn flags(&self) -> u8 {
        self.ip.tcp_flags()
    }

    /// TCP SYN without ACK, RST or FIN.
    pub fn is_syn(&self) -> bool {
        self.flags() & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }

    /// The tags of a packet that leaves by `ifindex`.
    pub fn tags_on(&self, ifindex: u32) -> Vec<[u8; 4]> {
        if ifindex == self.ifindex {
            self.frame.tags.clone()
        } else {
            Vec::new()
        }
    }

    /// `ip` in a frame that leaves by `hop`.
    pub fn framed(&self, ip: &Ip, hop: &Hop) -> Vec<u8> {
        Frame {
            destination: hop.destination_mac,
            source: hop.source_mac,
            tags: hop.tags.clone(),
            ethertype: if ip.is_ipv6() {
                ethertype::IPV6
            } else {
                ethertype::IPV4
            },
            rest: [ip.bytes.as_slice(), &ip.trailer].concat(),
        }
        .bytes()
    }

    /// The way back to where the packet came from.
    pub fn back(&self) -> Hop {
        Hop {
            destination_mac: self.frame.source,
            source_mac: wire::mac(self.interface.mac),
            ifindex: self.ifindex,
            tags: self.frame.tags.clone(),
        }
    }
}

/// The packet path over tables.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What the maps hold.
    pub tables: Tables,
}

impl Model {
    /// What becomes of a frame that comes in by `ifindex`.
    pub fn run(&mut self, ifindex: u32, frame: &[u8], environment: &mut dyn Environment) -> Output {
        let kept = |action, reason, charge| Output {
            action,
            frame: frame.to_vec(),
            reason,
            charge,
        };
        let interface = match self.tables.interfaces.get(&ifindex) {
            Some(interface) if interface.flags & ACTIVE != 0 => *interface,
            _ => return kept(Action::Pass, None, Charge::default()),
        };
        let end = match self.walk(ifindex, interface, frame, environment) {
            Ok(end) | Err(end) => end,
        };
        let action = match (&end.sent, end.reason.outcome()) {
            (Some((_, egress)), _) if *egress == ifindex && interface.flags & TX != 0 => Action::Tx,
            (Some((_, egress)), _) => Action::Redirect(*egress),
            (None, forwarder_common::Outcome::Pass) => Action::Pass,
            (None, _) => Action::Drop,
        };
        match end.sent {
            Some((frame, _)) => Output {
                action,
                frame,
                reason: Some(end.reason),
                charge: end.charge,
            },
            None => kept(action, Some(end.reason), end.charge),
        }
    }

    fn walk(
        &mut self,
        ifindex: u32,
        interface: Interface,
        frame: &[u8],
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let frame = Frame::parse(frame).ok_or(Reason::PassNotIp)?;
        let ipv6 = match frame.ethertype {
            ethertype::ARP => return Ok(self.arp(ifindex, &interface, &frame)),
            ethertype::IPV4 => false,
            ethertype::IPV6 => true,
            _ => return Err(Reason::PassNotIp.into()),
        };
        if frame.destination != wire::mac(interface.mac) {
            let group = ipv6 && frame.destination[..2] == [0x33, 0x33];
            if group && crate::neighbour::looks_like_solicitation(&frame.rest) {
                return Ok(self.solicitation(ifindex, &interface, &frame));
            }
            return Err(Reason::PassOtherHost.into());
        }
        let parsed = Ip::parse(&frame.rest, ipv6);
        let ip = parsed.map_err(|fault| match fault {
            Fault::Truncated => Reason::DropTruncated,
            Fault::Malformed(destination) => {
                self.ours_or(&interface, destination, Reason::DropMalformed)
            }
            Fault::Unsupported => Reason::PassUnsupported,
        })?;
        let ports = self.transport(&interface, &ip)?;
        let tuple = ip.tuple(ports);
        let packet = Packet {
            ifindex,
            interface,
            frame,
            ip,
            tuple,
        };
        if packet.ip.is_icmp() {
            return self.icmp(&packet, environment);
        }
        let end = match self.tables.virtual_server(&interface, &packet.tuple) {
            Some(server) => self.serve(&packet, &server, environment),
            None => match self.between_nodes(&packet) {
                Some(end) => Ok(end),
                None => self.without_server(&packet, environment),
            },
        };
        let end = match end {
            Ok(end) | Err(end) => end,
        };
        if let Fragment::First(id) = packet.ip.fragment
            && (end.reason.outcome() == forwarder_common::Outcome::Forward
                || end.reason == Reason::PassLocal)
        {
            self.tables
                .fragments
                .insert(fragment_id(&packet.ip, id), ports);
        }
        Ok(end)
    }

    fn ours_or(
        &self,
        interface: &Interface,
        destination: std::net::IpAddr,
        reason: Reason,
    ) -> Reason {
        if self.tables.is_ours(interface, destination) {
            reason
        } else {
            Reason::PassNotOurs
        }
    }

    /// Checks the transport header and finds the ports (zeros for ICMP).
    fn transport(&self, interface: &Interface, ip: &Ip) -> Step<(u16, u16)> {
        let ours_or = |reason| End::from(self.ours_or(interface, ip.destination, reason));
        let icmp = ip.is_icmp();
        if !icmp && ip.protocol != TCP && ip.protocol != UDP {
            return Err(Reason::PassNotOurs.into());
        }
        debug_assert!(icmp || !matches!(ip.protocol, ICMP | ICMPV6));
        if icmp && ip.fragment != Fragment::Whole {
            return Err(ours_or(Reason::DropFragment));
        }
        if let Fragment::Later(id) = ip.fragment {
            let known = self.tables.fragments.get(&fragment_id(ip, id));
            return known.copied().ok_or_else(|| ours_or(Reason::DropFragment));
        }
        let segment = ip.segment();
        if segment.len() < if ip.protocol == TCP { 20 } else { 8 } {
            return Err(ours_or(Reason::DropTruncated));
        }
        if ip.fragment == Fragment::Whole {
            let (least, length) = match ip.protocol {
                TCP => (20, usize::from(segment[12] >> 4) * 4),
                UDP => (8, usize::from(word(segment, 4).unwrap_or(0))),
                _ => (0, 0),
            };
            if length < least || length > segment.len() {
                return Err(ours_or(Reason::DropMalformed));
            }
        }
        Ok(if icmp {
            (0, 0)
        } else {
            ip.ports().unwrap_or((0, 0))
        })
    }
}

pub(crate) fn fragment_id(ip: &Ip, id: u32) -> FragmentId {
    FragmentId {
        source: ip.source,
        destination: ip.destination,
        id,
        protocol: ip.protocol,
    }
}
