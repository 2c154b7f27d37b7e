//! ICMP errors about NAT flows: outer header and quoted packet translated.

use core::hint::black_box;

use forwarder_common::flow::state;
use forwarder_common::{Flow, Interface, Link, Reason, interface, protocol};

use crate::checksum::Change;
use crate::context::Context;
use crate::family::{IP, Readdress};
use crate::header::{Half, Icmp, Words};
use crate::icmp::{Messages, Quote, quoted};
use crate::link;
use crate::lookup::FamilyTables;
use crate::packet::Packet;
use crate::parse::{Headers, OFFSET_MASK, swap};
use crate::translate;
use crate::verdict::Step;

/// An error whose quoted packet belongs to no virtual server without NAT: if a flow has it, the error goes
/// to the flow's other end.
#[inline(always)]
pub fn icmp_flow<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let Ok(headers) = F::parse(packet, tables) else {
        return Reason::DropInternal.into();
    };
    let Some(quote) = quoted::<F, P>(packet, &headers) else {
        return Reason::DropInternal.into();
    };
    let flow = tables
        .established(&quote.key)
        .or_else(|| tables.embryonic(&quote.key));
    match flow {
        Some(flow) => {
            translated::<F, P, T>(packet, tables, interface, context, &headers, &quote, &flow)
        }
        None => Reason::PassNotOurs.into(),
    }
}

/// The outer header and the quoted packet are translated.
#[inline(always)]
fn translated<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    quote: &Quote<F::Address>,
    flow: &Flow<F::Address>,
) -> Step {
    context.mark_icmp_error();
    let from_client = flow.state & (state::REPLY | state::EGRESS) == 0;
    let (link, mtu) = if from_client {
        let Some(backend) = tables.backend(flow.backend) else {
            return Reason::DropInternal.into();
        };
        let link = Link {
            destination_mac: backend.destination_mac,
            source_mac: backend.source_mac,
            ifindex: backend.ifindex,
            tags: link::kept_tags(context, backend.ifindex),
        };
        (link, backend.mtu as u32)
    } else {
        match tables.interface(flow.link.ifindex) {
            Some(out) if out.flags & interface::flags::ACTIVE != 0 => (flow.link, out.mtu as u32),
            _ => return Reason::DropNoNextHop.into(),
        }
    };
    if let Err(step) = translate::check(packet, context, headers, link.ifindex, mtu) {
        return step;
    }
    if rewrite::<F, P>(packet, headers, quote, flow).is_none() {
        return Reason::DropInternal.into();
    }
    let reason = Reason::IcmpError;
    Step::Done(link::transmit(
        packet, tables, interface, context, &link, reason,
    ))
}

#[inline(always)]
fn rewrite<F: Messages, P: Packet>(
    packet: &mut P,
    headers: &Headers<F>,
    quote: &Quote<F::Address>,
    flow: &Flow<F::Address>,
) -> Option<()> {
    // Outer: to the flow's new destination; from its new source, if the flow changes the source.
    let changes_source = flow.source != quote.key.source;
    let outer = Readdress {
        source: if changes_source {
            flow.source
        } else {
            headers.source
        },
        destination: flow.destination,
    };
    F::decrement_ttl(packet, IP)?;
    let mut change = F::pseudo(F::readdress(packet, IP, outer)?);

    // Quoted: the same packet seen from the other side of the translation.
    let inner = Readdress {
        source: flow.destination,
        destination: flow.source,
    };
    let at = black_box(quote.at) & OFFSET_MASK;
    let addresses = F::readdress(packet, at, inner)?;
    change = change.and(F::quoted(addresses));

    let new_ports = swap(flow.ports);
    let transport = black_box(quote.transport) & OFFSET_MASK;
    *packet.at_mut::<Words<1>>(transport)? = Words([new_ports]);
    let ports_change = Change::none().word(swap(quote.key.ports), new_ports);
    change = change.and(ports_change);

    let udp = quote.key.protocol == protocol::UDP as u32;
    let checksum_at = black_box(transport + if udp { 6 } else { 16 }) & OFFSET_MASK;
    let within = checksum_at + 2 <= IP + headers.length as usize;
    if within && let Some(checksum) = packet.at_mut::<Half>(checksum_at) {
        let old = checksum.0;
        let both = addresses.and(ports_change);
        let new = if udp {
            both.apply_udp(old)
        } else {
            both.apply(old)
        };
        checksum.0 = new;
        change = change.half(old, new);
    }
    let icmp_at = black_box(headers.transport) & OFFSET_MASK;
    let message = packet.at_mut::<Icmp>(icmp_at)?;
    message.checksum = change.apply(message.checksum);
    Some(())
}
