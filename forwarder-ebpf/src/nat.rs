//! NAT: packets of known flows, in both directions.

use forwarder_common::flow::{event, state};
use forwarder_common::virtual_server::backend_flags;
use forwarder_common::{
    Flow, FlowKey, Interface, Link, Reason, Stage, counter, interface, protocol,
};

use crate::context::Context;
use crate::header::tcp;
use crate::link;
use crate::lookup::{Entry, FamilyTables, Route};
use crate::packet::Packet;
use crate::parse::{Headers, destination_port, swap};
use crate::pipeline::{Stages, count_in, remember};
use crate::translate::{self, Translation};
use crate::verdict::Step;

/// Where [`Flow::state`] keeps the MSS clamp.
pub const MSS_SHIFT: u32 = 16;

/// The key of a flow's other direction.
#[inline(always)]
pub fn other_key<A: Copy>(flow: &Flow<A>, protocol: u32) -> FlowKey<A> {
    FlowKey {
        source: flow.destination,
        destination: flow.source,
        ports: swap(flow.ports),
        protocol,
    }
}

/// A packet that may belong to a flow.
#[inline(always)]
pub fn nat<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let Some(headers) = Headers::<F>::kept(packet, context) else {
        return Reason::DropInternal.into();
    };
    let key = headers.key();
    let (flow, embryonic) = match tables.established(&key) {
        Some(flow) => (Some(flow), false),
        None => (tables.embryonic(&key), true),
    };
    let Some(mut flow) = flow else {
        tables.note(Stage::FlowMiss, key.protocol, key.ports as u64);
        return miss::<F, T>(tables, interface, context, &headers);
    };
    tables.note(Stage::FlowHit, flow.state, flow.backend as u64);
    let from_client = flow.state & (state::REPLY | state::EGRESS) == 0;
    if from_client != (context.matched != 0) {
        // A virtual server that is gone, or one that has come where SNAT was.
        return miss::<F, T>(tables, interface, context, &headers);
    }
    if from_client {
        forward::<F, P, T>(
            packet, tables, interface, context, &headers, &key, flow, embryonic,
        )
    } else {
        let outward = flow.state & state::REPLY == 0;
        if outward && begins_anew::<F, T>(tables, &headers, &flow, embryonic) {
            context.replaces = 1;
            return Step::Next(F::EGRESS_STAGE);
        }
        let way_back = if outward {
            link::way_back(packet, interface, context)
        } else {
            None
        };
        let Some((link, mtu)) =
            way_out::<F, T>(tables, context, &headers, &key, &mut flow, way_back)
        else {
            if flow.state & state::EXPIRED != 0 && headers.protocol == protocol::TCP {
                return Step::Next(F::RESET_STAGE);
            }
            return Reason::DropNoNextHop.into();
        };
        if let Err(step) = translate::check(packet, context, &headers, link.ifindex, mtu) {
            return step;
        }
        let reply = !outward;
        let reason = match (flow.state & state::EGRESS != 0, reply) {
            (false, _) => Reason::NatReply,
            (true, false) => Reason::EgressSnat,
            (true, true) => Reason::EgressReply,
        };
        let direction = if reply {
            counter::Direction::Out
        } else {
            counter::Direction::In
        };
        tables.count_virtual_server(counter::index(flow.id, direction), context.bytes);
        if reason as u32 == Reason::NatReply as u32 {
            tables.count_backend(counter::index(flow.backend, direction), context.bytes);
        }
        let translation =
            pass_through::<F, T>(tables, &headers, &key, &mut flow, embryonic, link, reason);
        if !reply && embryonic {
            promote::<F, T>(tables, &headers, &key, &flow);
        }
        remember(tables, &headers);
        translate::send(packet, tables, interface, context, &headers, &translation)
    }
}

/// No flow has the packet.
#[inline(always)]
fn miss<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
) -> Step {
    if context.matched != 0 {
        if headers.protocol == protocol::TCP && !headers.is_syn() {
            return Reason::DropNoFlow.into();
        }
        return Step::Next(F::NEW_FLOW_STAGE);
    }
    let port = u16::from_be(destination_port(headers.ports));
    if let Some(range) = tables.snat_range(headers.destination)
        && range.low <= port
        && port <= range.high
    {
        return Reason::DropSnatNoFlow.into();
    }
    if interface.flags & interface::flags::EGRESS != 0 {
        return Step::Next(F::EGRESS_STAGE);
    }
    Reason::PassNotOurs.into()
}

/// A client's packet of a known flow.
#[expect(
    clippy::too_many_arguments,
    reason = "inlined into the one stage above; a struct would only rename them"
)]
#[inline(always)]
fn forward<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    key: &FlowKey<F::Address>,
    mut flow: Entry<'_, Flow<F::Address>>,
    embryonic: bool,
) -> Step {
    let Some(backend) = tables.backend(flow.backend) else {
        return Reason::DropInternal.into();
    };
    let dead = !backend_flags::keeps(backend.flags, key.protocol);
    if dead || begins_anew::<F, T>(tables, headers, &flow, embryonic) {
        let tcp = headers.protocol == protocol::TCP && !headers.is_syn();
        if flow.state & state::EXPIRED != 0 && tcp {
            return Step::Next(F::RESET_STAGE);
        }
        context.replaces = 1;
        return Step::Next(F::NEW_FLOW_STAGE);
    }
    context.backend = flow.backend;
    let link = Link {
        destination_mac: backend.destination_mac,
        source_mac: backend.source_mac,
        ifindex: backend.ifindex,
        tags: link::kept_tags(context, backend.ifindex),
    };
    if let Err(step) = translate::check(packet, context, headers, link.ifindex, backend.mtu as u32)
    {
        return step;
    }
    if T::WRITE
        && let Some(way) = link::way_back(packet, interface, context)
        && !link::is_same(&way, &flow.link)
    {
        flow.link = way;
        let other = other_key(&flow, key.protocol);
        if let Some(mut reply) = tables
            .established(&other)
            .or_else(|| tables.embryonic(&other))
        {
            reply.link = way;
        }
    }
    count_in(tables, flow.id, flow.backend, context.bytes);
    let reason = if flow.state & state::FULL_NAT != 0 {
        Reason::FullNat
    } else {
        Reason::Dnat
    };
    let translation =
        pass_through::<F, T>(tables, headers, key, &mut flow, embryonic, link, reason);
    if embryonic {
        promote::<F, T>(tables, headers, key, &flow);
    }
    remember(tables, headers);
    translate::send(packet, tables, interface, context, headers, &translation)
}

/// Notes the packet in its flow and says what it becomes.
#[inline(always)]
fn pass_through<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    headers: &Headers<F>,
    key: &FlowKey<F::Address>,
    flow: &mut Entry<'_, Flow<F::Address>>,
    embryonic: bool,
    link: Link,
    reason: Reason,
) -> Translation<F::Address> {
    if T::WRITE {
        let now = tables.now_seconds();
        // What the peer has told is stamped ahead, and stays so: older entries are swept by it.
        if flow.last_seen < now {
            flow.last_seen = now;
        }
        let mut noted = flow.state | state::SEEN;
        if headers.tcp_flags & tcp::FIN != 0 {
            noted |= state::FIN;
        }
        if headers.tcp_flags & tcp::RST != 0 {
            noted |= state::RST;
        }
        if noted != flow.state {
            let ends = (noted ^ flow.state) & (state::FIN | state::RST) != 0;
            flow.state = noted;
            if tables.tells() && ends && !embryonic {
                tables.tell(event::ENDS, key, flow, 0);
            }
        }
    }
    Translation {
        source: flow.source,
        destination: flow.destination,
        ports: flow.ports,
        link,
        mss: (flow.state >> MSS_SHIFT) as u16,
        reason,
    }
}

/// The way out of a reply, or of an outbound packet of egress SNAT.
#[inline(always)]
fn way_out<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    context: &Context,
    headers: &Headers<F>,
    key: &FlowKey<F::Address>,
    flow: &mut Entry<'_, Flow<F::Address>>,
    way_back: Option<Link>,
) -> Option<(Link, u32)> {
    // One that is forgotten goes nowhere any more.
    let outbound = flow.state & (state::EGRESS | state::REPLY | state::EXPIRED) == state::EGRESS;
    if outbound && T::WRITE && flow.last_seen != tables.now_seconds() {
        // Once a second both ends are looked at again: the gateway, or the host behind us, may have moved.
        if let Route::Found { link, .. } = tables.route(key, context.ifindex, headers.length) {
            flow.link = Link {
                tags: link::kept_tags(context, link.ifindex),
                ..link
            };
        }
        let other = other_key(flow, key.protocol);
        let reply = tables
            .established(&other)
            .or_else(|| tables.embryonic(&other));
        if let (Some(mut reply), Some(way)) = (reply, way_back) {
            reply.link = way;
        }
    }
    let out = tables.interface(flow.link.ifindex)?;
    (out.flags & interface::flags::ACTIVE != 0).then_some((flow.link, out.mtu as u32))
}

/// Whether a packet of whoever began the flow begins another in its place: one that can't be answered
/// any more, its reply entry having been pushed out by others, would otherwise never be again.
#[inline(always)]
fn begins_anew<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    headers: &Headers<F>,
    flow: &Flow<F::Address>,
    embryonic: bool,
) -> bool {
    let may = headers.is_syn() || embryonic && headers.protocol != protocol::TCP;
    may && is_closed::<F, T>(tables, flow, headers.protocol as u32)
}

/// A flow that both ends have finished, one has reset, or that has lost its other entry. Either entry will do.
#[inline(always)]
pub fn is_closed<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    flow: &Flow<F::Address>,
    protocol: u32,
) -> bool {
    let other = other_key(flow, protocol);
    let reply = tables
        .established(&other)
        .or_else(|| tables.embryonic(&other));
    let reply = reply.map_or(state::RST, |reply| reply.state);
    (flow.state | reply) & state::RST != 0 || flow.state & reply & state::FIN != 0
}

/// Moves a flow that has been answered to the established ones, where no flood of half-open flows
/// reaches it. The reply goes first, so that its port is never free in between.
#[inline(always)]
fn promote<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    headers: &Headers<F>,
    key: &FlowKey<F::Address>,
    flow: &Flow<F::Address>,
) {
    // A scanner's RST after the SYN-ACK establishes nothing.
    if !T::WRITE || headers.is_syn() || headers.tcp_flags & tcp::RST != 0 {
        return;
    }
    let other = other_key(flow, key.protocol);
    let Some(reply) = tables.embryonic(&other) else {
        return;
    };
    if reply.state & state::SEEN == 0 || !tables.add_established(&other, &reply) {
        return;
    }
    if !tables.add_established(key, flow) {
        tables.remove_established(&other);
        return;
    }
    tables.tell(event::FLOW, key, flow, reply.state);
    tables.remove_embryonic(&other);
    tables.remove_embryonic(key);
}
