//! ICMP: echo for VIPs, and errors about flows to the end that must hear them.

use core::hint::black_box;

use forwarder_common::{FlowKey, Interface, Mode, Reason, Stage, VirtualServer, lease, protocol};

use crate::answer::answers;
use crate::checksum::Change;
use crate::choose::{self, Age};
use crate::context::Context;
use crate::family::{FamilyV4, FamilyV6, IP, Readdress};
use crate::header::{Icmp, Ipv4, Ipv6, Words};
use crate::link;
use crate::lookup::FamilyTables;
use crate::packet::Packet;
use crate::parse::{Headers, OFFSET_MASK, swap};
use crate::pipeline::{self, SOLICITATION, Stages, find_server};
use crate::verdict::Step;

const TTL: u8 = 64;

/// The packet that an ICMP error quotes.
pub struct Quote<A> {
    /// Where its IP header begins.
    pub at: usize,
    /// Where its transport header begins.
    pub transport: usize,
    /// Its 5-tuple turned round: the flow's packet from the other side, as it would come in here.
    pub key: FlowKey<A>,
}

/// What differs between ICMP and ICMPv6.
pub trait Messages: Stages {
    /// Echo request and reply.
    const ECHO: (u8, u8);

    /// Whether a type is an error that quotes a packet.
    fn is_error(kind: u8) -> bool;

    /// The quoted packet at `at`, if it has the headers that say whose it is before `end`.
    fn quote<P: Packet>(packet: &P, at: usize, end: usize) -> Option<Quote<Self::Address>>;

    /// Sets TTL or hop limit.
    fn set_ttl<P: Packet>(packet: &mut P, ttl: u8) -> Option<()>;

    /// Share of the outer addresses' change in the ICMP checksum: ICMPv6 has a pseudo-header.
    fn pseudo(change: Change) -> Change;

    /// The change that a readdressed quote makes to the ICMP checksum around it: for IPv4 none, since
    /// the quoted header's own checksum makes up for its addresses.
    fn quoted(change: Change) -> Change;
}

impl Messages for FamilyV4 {
    const ECHO: (u8, u8) = (8, 0);

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, at: usize, end: usize) -> Option<Quote<Self::Address>> {
        const OFFSET: u16 = 0x1fff;
        let ip = packet.at::<Ipv4>(at)?;
        let header = (ip.version_length & 0x0f) as usize * 4;
        if ip.version_length >> 4 != 4
            || header < Ipv4::LENGTH
            || u16::from_be(ip.fragment) & OFFSET != 0
        {
            return None;
        }
        let key = FlowKey {
            source: ip.destination,
            destination: ip.source,
            ports: 0,
            protocol: ip.protocol as u32,
        };
        transport_of(packet, at, black_box(at + header) & OFFSET_MASK, end, key)
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, ttl: u8) -> Option<()> {
        let ip = packet.at_mut::<Ipv4>(IP)?;
        let old = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        let new = u16::from_ne_bytes([ttl, ip.protocol]);
        ip.ttl = ttl;
        ip.checksum = Change::none().half(old, new).apply(ip.checksum);
        Some(())
    }

    #[inline(always)]
    fn pseudo(_change: Change) -> Change {
        Change::none()
    }

    #[inline(always)]
    fn quoted(_change: Change) -> Change {
        Change::none()
    }
}

impl Messages for FamilyV6 {
    const ECHO: (u8, u8) = (128, 129);

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn quote<P: Packet>(packet: &P, at: usize, end: usize) -> Option<Quote<Self::Address>> {
        let ip = packet.at::<Ipv6>(at)?;
        if u32::from_be(ip.version_class_flow) >> 28 != 6 {
            return None;
        }
        let key = FlowKey {
            source: ip.destination,
            destination: ip.source,
            ports: 0,
            protocol: ip.next_header as u32,
        };
        transport_of(
            packet,
            at,
            black_box(at + Ipv6::LENGTH) & OFFSET_MASK,
            end,
            key,
        )
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, ttl: u8) -> Option<()> {
        packet.at_mut::<Ipv6>(IP)?.hop_limit = ttl;
        Some(())
    }

    #[inline(always)]
    fn pseudo(change: Change) -> Change {
        change
    }

    #[inline(always)]
    fn quoted(change: Change) -> Change {
        change
    }
}

/// The quoted transport header: eight bytes of TCP or UDP.
#[inline(always)]
fn transport_of<P: Packet, A>(
    packet: &P,
    at: usize,
    transport: usize,
    end: usize,
    mut key: FlowKey<A>,
) -> Option<Quote<A>> {
    let words = packet.at::<Words<2>>(transport)?.0;
    let known = key.protocol == protocol::TCP as u32 || key.protocol == protocol::UDP as u32;
    if !known || transport + 8 > end {
        return None;
    }
    key.ports = swap(words[0]);
    Some(Quote { at, transport, key })
}

/// An ICMP packet to us or through us.
#[inline(always)]
pub fn icmp<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let headers = match F::parse(packet, tables) {
        Ok(headers) => headers,
        Err(_) => return Reason::DropInternal.into(),
    };
    let Some(message) = packet.at::<Icmp>(headers.transport) else {
        return Reason::DropInternal.into();
    };
    let kind = message.kind;
    if kind == F::ECHO.0 {
        return echo::<F, P, T>(packet, tables, interface, context, &headers);
    }
    if F::IS_V6 && kind == SOLICITATION {
        return Step::Next(forwarder_common::programs::StageProgram::Answer);
    }
    if !F::is_error(kind) {
        return Reason::PassNotOurs.into();
    }
    match quoted::<F, P>(packet, &headers) {
        Some(quote) => error::<F, P, T>(packet, tables, interface, context, &headers, &quote),
        None => Reason::PassNotOurs.into(),
    }
}

/// The packet that an error quotes, if the error is for the one who sent it.
#[inline(always)]
pub fn quoted<F: Messages, P: Packet>(
    packet: &P,
    headers: &Headers<F>,
) -> Option<Quote<F::Address>> {
    let at = black_box(headers.transport + Icmp::LENGTH) & OFFSET_MASK;
    let quote = F::quote(packet, at, headers.end())?;
    (quote.key.destination == headers.destination).then_some(quote)
}

/// Answers a ping to a VIP in place.
#[inline(always)]
fn echo<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    headers: &Headers<F>,
) -> Step {
    if !answers::<F, T>(tables, interface, headers.destination) {
        return Reason::PassNotOurs.into();
    }
    if F::is_bad_source(headers.source) || headers.source == headers.destination {
        return Reason::DropBadSource.into();
    }
    let Some(way) = link::way_back(packet, interface, context) else {
        return Reason::DropInternal.into();
    };
    let back = Readdress {
        source: headers.destination,
        destination: headers.source,
    };
    let reply = |packet: &mut P| {
        F::readdress(packet, IP, back)?;
        F::set_ttl(packet, TTL)?;
        let message = packet.at_mut::<Icmp>(headers.transport)?;
        let old = u16::from_ne_bytes([F::ECHO.0, message.code]);
        let new = u16::from_ne_bytes([F::ECHO.1, message.code]);
        message.kind = F::ECHO.1;
        message.checksum = Change::none().half(old, new).apply(message.checksum);
        Some(())
    };
    if reply(packet).is_none() {
        return Reason::DropInternal.into();
    }
    let reason = Reason::AnswerEcho;
    Step::Done(link::transmit(
        packet, tables, interface, context, &way, reason,
    ))
}

/// An error about a packet that its destination sent through us: it goes to that packet's other end.
#[inline(always)]
fn error<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    quote: &Quote<F::Address>,
) -> Step {
    let key = &quote.key;
    tables.note(Stage::Parse, key.protocol, key.ports as u64);
    let port = crate::parse::destination_port(key.ports);
    let server = find_server::<F, T>(tables, interface, key.destination, port, key.protocol as u8);
    match server {
        Some(server) if server.mode < Mode::Dnat as u8 => {
            to_backend::<F, P, T>(packet, tables, interface, context, headers, key, server)
        }
        Some(server) if server.mode == Mode::Local as u8 => Reason::PassNotOurs.into(),
        _ => Step::Next(F::ICMP_FLOW_STAGE),
    }
}

/// DSR: the backend that has the flow gets the error as it would get the flow's packets.
#[inline(always)]
fn to_backend<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    key: &FlowKey<F::Address>,
    server: &VirtualServer,
) -> Step {
    if !tables.leased(lease::forward(server.group as u32)) {
        return Reason::DropStandby.into();
    }
    let index = match choose::backend::<F, T>(tables, server, key, Age::Asked) {
        Ok(index) => index,
        Err(reason) => return reason.into(),
    };
    context.backend = index;
    headers.keep(context);
    context.mark_icmp_error();
    if server.mode == Mode::L2Dsr as u8 {
        let reason = Reason::IcmpError;
        return pipeline::switch::<F, P, T>(
            packet, tables, interface, context, headers, server.id, reason,
        );
    }
    context.virtual_server = *server;
    Step::Next(F::TUNNEL_STAGE)
}
