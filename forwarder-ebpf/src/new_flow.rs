//! NAT: a new flow, its backend and its SNAT port.

use forwarder_common::flow::{NO_BACKEND, event, state};
use forwarder_common::hash::{SNAT_ATTEMPTS, flow_hash, snat_candidate};
use forwarder_common::virtual_server::AUTOMAP;
use forwarder_common::{
    Affinity, Flow, FlowKey, Interface, Link, Mode, Reason, SnatPool, Stage, counter,
};

use crate::choose::{self, Age};
use crate::context::Context;
use crate::link;
use crate::lookup::{Draft, FamilyTables};
use crate::nat::{MSS_SHIFT, is_closed, other_key};
use crate::packet::Packet;
use crate::parse::{Headers, destination_port, ports, source_port, swap};
use crate::pipeline::{Stages, guard, remember};
use crate::translate::{self, Translation};
use crate::verdict::Step;

/// How the first packet of a new flow leaves, and what its source may become.
struct Plan {
    link: Link,
    mtu: u32,
    /// The SNAT pool, if the source changes.
    pool: Option<u32>,
}

/// Makes the flow of a packet for the virtual server in the context, or of egress SNAT if none matched,
/// and sends the packet.
#[inline(always)]
pub fn new_flow<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let Some(headers) = Headers::<F>::kept(packet, context) else {
        return Reason::DropInternal.into();
    };
    let (Some(mut draft), Some(way)) = (tables.draft(), link::way_back(packet, interface, context))
    else {
        return Reason::DropInternal.into();
    };
    let key = headers.key();
    let plan = if context.matched != 0 {
        to_backend::<F, T>(tables, context, &key, way, &mut draft.flow)
    } else {
        Ok(outward::<F, T>(tables, context, &key, &mut draft.flow))
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(reason) => return reason.into(),
    };
    let checked = translate::check(packet, context, &headers, plan.link.ifindex, plan.mtu);
    if let Err(step) = checked {
        return step;
    }
    if let Err(reason) = guard(tables, &context.virtual_server) {
        return reason.into();
    }
    if T::WRITE && context.replaces != 0 {
        forget::<F, T>(tables, &key, &mut draft.other);
    }
    draft.reply = Flow {
        source: key.destination,
        destination: key.source,
        ports: swap(key.ports),
        link: way,
        state: draft.flow.state | state::REPLY,
        ..draft.flow
    };
    // The candidates are many: 6.1's verifier gives up (over a million instructions) if it goes through
    // them for every kind of packet.
    let headers = headers.forget(tables);
    draft.key = headers.key();
    if let Err(reason) = claim::<F, T>(tables, &mut draft, plan.pool) {
        if reason as u32 == Reason::DropSnatExhausted as u32
            && let Some(pool) = plan.pool
        {
            tables.count_exhausted(pool, context.bytes);
        }
        return reason.into();
    }
    remember(tables, &headers);
    let id = context.virtual_server.id;
    tables.count_virtual_server(counter::index(id, counter::Direction::In), context.bytes);
    if context.matched != 0 {
        let index = counter::index(draft.flow.backend, counter::Direction::In);
        tables.count_backend(index, context.bytes);
    }
    let translation = Translation {
        source: draft.flow.source,
        destination: draft.flow.destination,
        ports: draft.flow.ports,
        link: plan.link,
        mss: (draft.flow.state >> MSS_SHIFT) as u16,
        reason: match draft.flow.state & (state::EGRESS | state::FULL_NAT) {
            0 => Reason::Dnat,
            state::FULL_NAT => Reason::FullNat,
            _ => Reason::EgressSnat,
        },
    };
    translate::send(packet, tables, interface, context, &headers, &translation)
}

/// A client's flow to a backend.
#[inline(always)]
fn to_backend<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    context: &Context,
    key: &FlowKey<F::Address>,
    way: Link,
    flow: &mut Flow<F::Address>,
) -> Result<Plan, Reason> {
    let server = &context.virtual_server;
    let index = choose::backend::<F, T>(tables, server, key, Age::Flow)?;
    let backend = tables.backend(index).ok_or(Reason::DropInternal)?;
    tables.note(Stage::Backend, index, backend.ifindex as u64);
    if backend.ifindex == 0 {
        return Err(choose::no_way(index));
    }
    let full_nat = server.mode == Mode::FullNat as u8;
    let port = match backend.port {
        0 => destination_port(key.ports),
        given => given,
    };
    let pool = if server.snat_pool == AUTOMAP {
        backend.automap
    } else {
        server.snat_pool
    };
    *flow = Flow {
        source: key.source,
        destination: F::narrow(&backend.address),
        ports: ports(source_port(key.ports), port),
        link: way,
        backend: index,
        id: server.id,
        state: server.mss << MSS_SHIFT | if full_nat { state::FULL_NAT } else { 0 },
        last_seen: tables.now_seconds(),
    };
    Ok(Plan {
        link: Link {
            destination_mac: backend.destination_mac,
            source_mac: backend.source_mac,
            ifindex: backend.ifindex,
            tags: link::kept_tags(context, backend.ifindex),
        },
        mtu: backend.mtu as u32,
        pool: if full_nat { Some(pool) } else { None },
    })
}

/// The flow of a host behind us to the outside; where that is, the egress stage has asked.
#[inline(always)]
fn outward<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    context: &Context,
    key: &FlowKey<F::Address>,
    flow: &mut Flow<F::Address>,
) -> Plan {
    *flow = Flow {
        source: key.source,
        destination: key.destination,
        ports: key.ports,
        link: context.link,
        backend: NO_BACKEND,
        id: context.virtual_server.id,
        state: state::EGRESS,
        last_seen: tables.now_seconds(),
    };
    Plan {
        link: context.link,
        mtu: context.mtu,
        pool: Some(context.virtual_server.snat_pool),
    }
}

/// Writes both directions of a flow. With a SNAT pool, it gets a source address and port of it that
/// no other flow to the same backend has; the reply entry is the claim on it.
#[inline(always)]
fn claim<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    draft: &mut Draft<F::Address>,
    pool: Option<u32>,
) -> Result<(), Reason> {
    let claimed = match pool {
        None => match take::<F, T>(tables, draft) {
            Taken::ByUs => true,
            Taken::Yields => oust::<F, T>(tables, draft),
            Taken::Established => false,
        },
        Some(index) => match tables.snat_pool(index).filter(|pool| pool.count != 0) {
            Some(pool) => search::<F, T>(tables, draft, pool),
            None => false,
        },
    };
    if !claimed {
        return Err(Reason::DropSnatExhausted);
    }
    if T::WRITE && !tables.add_embryonic(&draft.key, &draft.flow) {
        draft.other = other_key(&draft.flow, draft.key.protocol);
        tables.withdraw_embryonic(&draft.other);
        return Err(Reason::DropFlowTableFull);
    }
    tables.count_embryonic(2, 0);
    Ok(())
}

/// Removes both directions of the flow that has a key.
#[inline(always)]
fn forget<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    key: &FlowKey<F::Address>,
    other: &mut FlowKey<F::Address>,
) {
    let established = tables.established(key);
    if let Some(flow) = &established {
        tables.tell(event::GONE, key, flow, 0);
    }
    if let Some(flow) = established.or_else(|| tables.embryonic(key)) {
        *other = other_key(&flow, key.protocol);
        tables.remove_established(other);
        tables.remove_embryonic(other);
        tables.remove_established(key);
        tables.remove_embryonic(key);
    }
}

/// Tries candidates until one is free. If none is, one whose flow is only half open, or closed, changes hands,
/// so that a flood of SYNs holds no port for longer than the next flow needs.
#[inline(always)]
fn search<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    draft: &mut Draft<F::Address>,
    pool: &SnatPool,
) -> bool {
    let hash = flow_hash(
        draft.key.source,
        draft.key.destination,
        draft.key.ports,
        draft.key.protocol as u8,
        Affinity::FiveTuple,
        tables.hash_key(),
    );
    // Forgotten, so that to the verifier all ways through an attempt are one.
    let mut yields = tables.forget(SNAT_ATTEMPTS as u64) as u32;
    for attempt in 0..SNAT_ATTEMPTS {
        if !aim::<F, T>(tables, hash, attempt, pool, &mut draft.flow) {
            return false;
        }
        match take::<F, T>(tables, draft) {
            Taken::ByUs => {
                let port = u16::from_be(source_port(draft.flow.ports));
                tables.note(Stage::Snat, port as u32, attempt as u64 + 1);
                return true;
            }
            Taken::Yields => yields = tables.forget(attempt as u64) as u32,
            Taken::Established => {}
        }
    }
    yields < SNAT_ATTEMPTS
        && aim::<F, T>(tables, hash, yields, pool, &mut draft.flow)
        && oust::<F, T>(tables, draft)
}

/// Gives a flow the source of a candidate.
#[inline(always)]
fn aim<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    hash: u32,
    attempt: u32,
    pool: &SnatPool,
    flow: &mut Flow<F::Address>,
) -> bool {
    let (address, port) = snat_candidate(hash, attempt, pool);
    let Some(address) = tables.snat_address(address) else {
        return false;
    };
    flow.source = F::narrow(address);
    flow.ports = ports(port.to_be(), destination_port(flow.ports));
    true
}

/// Who has a reply key.
enum Taken {
    ByUs,
    /// A flow that is half open or closed.
    Yields,
    Established,
}

/// Claims the reply key of a flow, unless another flow has it.
#[inline(always)]
fn take<F: Stages, T: FamilyTables<F::Address>>(
    tables: &T,
    draft: &mut Draft<F::Address>,
) -> Taken {
    draft.other = other_key(&draft.flow, draft.key.protocol);
    let half_open = if T::WRITE {
        !tables.claim_embryonic(&draft.other, &draft.reply)
    } else {
        tables.embryonic(&draft.other).is_some()
    };
    // A flow becomes established before its embryonic entry goes: asking in this order misses none.
    if let Some(flow) = tables.established(&draft.other) {
        if T::WRITE && !half_open {
            tables.withdraw_embryonic(&draft.other);
        }
        return if is_closed::<F, T>(tables, &flow, draft.key.protocol) {
            Taken::Yields
        } else {
            Taken::Established
        };
    }
    if half_open {
        Taken::Yields
    } else {
        Taken::ByUs
    }
}

/// Takes the reply key of a flow over from one that is half open or closed.
#[inline(always)]
fn oust<F: Stages, T: FamilyTables<F::Address>>(tables: &T, draft: &mut Draft<F::Address>) -> bool {
    draft.other = other_key(&draft.flow, draft.key.protocol);
    let established = tables.established(&draft.other);
    if let Some(flow) = &established
        && !is_closed::<F, T>(tables, flow, draft.key.protocol)
    {
        return false;
    }
    if !T::WRITE {
        return true;
    }
    match &established {
        Some(reply) => tables.tell(event::GONE, &draft.other, reply, 0),
        // Its reply entry is written over.
        None => tables.count_embryonic(0, 1),
    }
    if let Some(reply) = established.or_else(|| tables.embryonic(&draft.other)) {
        draft.other = other_key(&reply, draft.key.protocol);
        tables.remove_established(&draft.other);
        tables.remove_embryonic(&draft.other);
        draft.other = other_key(&draft.flow, draft.key.protocol);
        tables.remove_established(&draft.other);
    }
    tables.add_embryonic(&draft.other, &draft.reply)
}
