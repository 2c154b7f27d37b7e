//! Connections whose ends are told that they were forgotten. Their entries stay for a while, marked, and the
//! packet path answers what still comes of them.

use std::borrow::BorrowMut;
use std::io;
use std::net::SocketAddr;

use aya::Pod;
use aya::maps::{HashMap, MapData, MapError};
use forwarder_common::flow::state;
use forwarder_common::slot::NOWHERE;
use forwarder_common::{Flow, FlowKey, Link, protocol};

use super::ask::Segment;
use crate::core::key::{Address, ports};

const BPF_EXIST: u64 = 2;

/// An entry, as it was judged.
pub type Seen<'a, A> = (&'a FlowKey<A>, &'a Flow<A>);

/// Whether a flow with these entries is a connection that is open at both ends.
pub fn is_open<A>(protocol: u32, one: &Flow<A>, other: &Flow<A>) -> bool {
    let over = state::FIN | state::RST | state::EXPIRED;
    protocol == u32::from(protocol::TCP) && (one.state | other.state) & over == 0
}

/// Marks both entries, unless a packet has passed since they were judged. A packet of this very moment may be
/// answered with a reset too.
pub fn mark<A, M>(
    map: &mut HashMap<M, FlowKey<A>, Flow<A>>,
    forward: Seen<'_, A>,
    reply: Seen<'_, A>,
    now: u32,
) -> io::Result<bool>
where
    A: Copy,
    M: BorrowMut<MapData>,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let marked = |flow: &Flow<A>| Flow {
        state: flow.state | state::RST | state::EXPIRED,
        last_seen: now,
        ..*flow
    };
    let nowhere = |flow: &Flow<A>| Flow {
        link: Link::default(),
        ..marked(flow)
    };
    let forwards = match forward.1.state & state::EGRESS != 0 {
        true => nowhere(forward.1),
        false => Flow {
            backend: NOWHERE,
            ..marked(forward.1)
        },
    };
    Ok(replace(map, forward, &forwards)? && replace(map, reply, &nowhere(reply.1))?)
}

fn replace<A, M>(
    map: &mut HashMap<M, FlowKey<A>, Flow<A>>,
    (key, seen): Seen<'_, A>,
    flow: &Flow<A>,
) -> io::Result<bool>
where
    A: Copy,
    M: BorrowMut<MapData>,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    match map.get(key, 0) {
        Ok(now) if now.last_seen == seen.last_seen => {}
        Ok(_) | Err(MapError::KeyNotFound) => return Ok(false),
        Err(error) => return Err(io::Error::other(error)),
    }
    // Whoever was faster has removed it.
    Ok(map.insert(key, flow, BPF_EXIST).is_ok())
}

/// What each end knows the other by: the client, and the backend.
pub fn segments<A: Address>((key, flow): Seen<'_, A>) -> [Segment; 2] {
    let end = |address: A, port| SocketAddr::new(address.ip(), port);
    let ([client, vip], [source, backend]) = (ports(key.ports), ports(flow.ports));
    [
        [end(key.destination, vip), end(key.source, client)],
        [end(flow.source, source), end(flow.destination, backend)],
    ]
}
