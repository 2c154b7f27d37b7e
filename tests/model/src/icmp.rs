//! ICMP: echo, and errors about flows.

use forwarder_common::interface::flags::{EGRESS, NAT};
use forwarder_common::protocol::{TCP, UDP};
use forwarder_common::{Mode, Reason};

use crate::checksum;
use crate::nat::checked_hop;
use crate::packet::{Ip, addresses, put, set_addresses, word};
use crate::path::{Charge, End, Environment, Fib, Model, Packet, Step};
use crate::tables::Tuple;
use crate::virtual_server::{Chooser, check_source};

/// A packet quoted in an ICMP error: offsets from the outer IP header.
struct Quote {
    /// The quoted IP header.
    at: usize,
    /// The quoted transport header.
    l4: usize,
    /// Its 5-tuple.
    tuple: Tuple,
}

impl Model {
    pub(crate) fn icmp(&mut self, packet: &Packet, environment: &mut dyn Environment) -> Step<End> {
        let ip = &packet.ip;
        let (echo, errors) = if ip.is_ipv6() {
            (128, [1, 2, 3, 4].as_slice())
        } else {
            (8, [3, 11, 12].as_slice())
        };
        let kind = ip.segment()[0];
        if kind == echo && self.tables.answers(&packet.interface, ip.destination) {
            check_source(&packet.tuple)?;
            return Ok(self.echo(packet));
        }
        if kind == 135 && ip.is_ipv6() {
            return Ok(self.solicitation(packet.ifindex, &packet.interface, &packet.frame));
        }
        match quote(ip).filter(|_| errors.contains(&kind)) {
            Some(quote) => self.error(packet, &quote, environment),
            None => Err(Reason::PassNotOurs.into()),
        }
    }

    fn echo(&self, packet: &Packet) -> End {
        let mut ip = packet.ip.clone();
        let (source, destination, l4) = (ip.source, ip.destination, ip.l4);
        let reply = if ip.is_ipv6() { 129 } else { 0 };
        ip.edit(|bytes| {
            set_addresses(bytes, destination, source);
            bytes[l4] = reply;
        });
        ip.set_ttl(64);
        let back = packet.back();
        End::sent(
            Reason::AnswerEcho,
            packet.framed(&ip, &back),
            back.ifindex,
            Charge::default(),
        )
    }

    fn error(
        &mut self,
        packet: &Packet,
        quote: &Quote,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let tuple = quote.tuple.turned();
        if packet.ip.destination == tuple.destination
            && let Some(server) = self.tables.virtual_server(&packet.interface, &tuple)
            && let Some(mode) = Mode::from_abi(server.mode)
            && matches!(mode, Mode::L2Dsr | Mode::IpipDsr | Mode::GueDsr)
        {
            if self.tables.standby[0].contains(&server.group) {
                return Err(Reason::DropStandby.into());
            }
            let (_, backend) = self.choose(&tuple, &server, Chooser::Error)?;
            return self.direct(
                packet,
                &server,
                mode,
                &backend,
                (Reason::IcmpError, Charge::default()),
            );
        }
        if packet.interface.flags & (NAT | EGRESS) == 0
            || packet.ip.destination != tuple.destination
        {
            return Err(Reason::PassNotOurs.into());
        }
        let flow = self
            .tables
            .flow(&tuple)
            .cloned()
            .ok_or(Reason::PassNotOurs)?;
        let hop = if flow.reply {
            self.link_of(packet, &flow)?
        } else if let Some(index) = flow.backend {
            let backend = *self
                .tables
                .backends
                .get(&index)
                .ok_or(Reason::DropInternal)?;
            checked_hop(packet, &backend)?
        } else {
            let mut hop = match environment.route(&tuple) {
                Fib::Hop(hop) => hop,
                _ => flow.hop.clone().ok_or(Reason::DropNoNextHop)?,
            };
            self.check_interface(packet, hop.ifindex)?;
            hop.tags = packet.tags_on(hop.ifindex);
            hop
        };
        let ip = translated(&packet.ip, quote, &tuple, &flow.becomes);
        Ok(End::sent(
            Reason::IcmpError,
            packet.framed(&ip, &hop),
            hop.ifindex,
            Charge::default(),
        ))
    }
}

/// The error as the other end of the flow has to see it.
fn translated(ip: &Ip, quote: &Quote, was: &Tuple, becomes: &Tuple) -> Ip {
    let mut ip = ip.clone();
    let outer_source = if becomes.source != was.source {
        becomes.source
    } else {
        ip.source
    };
    let ipv6 = ip.is_ipv6();
    let Quote { at, l4, .. } = *quote;
    let covered = if was.protocol == TCP { 16 } else { 6 };
    ip.edit(|bytes| {
        let header =
            |bytes: &[u8]| checksum::sum(&bytes[at..at + 10]) + checksum::sum(&bytes[at + 12..l4]);
        // What the quoted transport checksum covers and changes: both addresses and both ports.
        let ends = |bytes: &[u8]| {
            let (from, length) = if ipv6 { (at + 8, 32) } else { (at + 12, 8) };
            checksum::sum(&bytes[from..from + length]) + checksum::sum(&bytes[l4..l4 + 4])
        };
        let (header_before, ends_before) = (header(bytes), ends(bytes));
        set_addresses(&mut bytes[at..], becomes.destination, becomes.source);
        put(bytes, l4, becomes.destination_port);
        put(bytes, l4 + 2, becomes.source_port);
        if !ipv6 {
            let stored = word(bytes, at + 10).unwrap_or(0);
            let adjusted = checksum::adjust(stored, header_before, header(bytes));
            put(bytes, at + 10, adjusted);
        }
        if let Some(stored) =
            word(bytes, l4 + covered).filter(|stored| was.protocol == TCP || *stored != 0)
        {
            let adjusted = checksum::adjust(stored, ends_before, ends(bytes));
            put(
                bytes,
                l4 + covered,
                if was.protocol == UDP && adjusted == 0 {
                    0xffff
                } else {
                    adjusted
                },
            );
        }
        set_addresses(bytes, outer_source, becomes.destination);
    });
    ip.decrement_ttl();
    ip
}

/// Reads the quote of an ICMP error.
fn quote(ip: &Ip) -> Option<Quote> {
    let at = ip.l4 + 8;
    let quoted = ip.bytes.get(at..)?;
    let ipv6 = ip.is_ipv6();
    let (protocol, header) = if ipv6 {
        (*quoted.get(6)?, 40)
    } else {
        if u16::from_be_bytes([*quoted.get(6)? & 0x1f, *quoted.get(7)?]) != 0 {
            return None;
        }
        (*quoted.get(9)?, usize::from(quoted[0] & 0xf) * 4)
    };
    let fits =
        quoted[0] >> 4 == if ipv6 { 6 } else { 4 } && header >= 20 && quoted.len() >= header + 8;
    if !fits || (protocol != TCP && protocol != UDP) {
        return None;
    }
    let (source, destination) = addresses(quoted, ipv6);
    let tuple = Tuple {
        source,
        destination,
        source_port: word(quoted, header)?,
        destination_port: word(quoted, header + 2)?,
        protocol,
    };
    Some(Quote {
        at,
        l4: at + header,
        tuple,
    })
}
