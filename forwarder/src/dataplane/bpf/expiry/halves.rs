//! Established flows of which the forward entry alone is left. What it translates is never answered, and as long
//! as it comes the flow is not idle: without a SYN, as of UDP, it would never be another.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Pod;
use forwarder_common::{Flow, FlowKey};

use super::super::remove::remove_if;
use super::super::told::Told;
use super::{decision, open, partner};
use crate::core::key::partner_key;
use crate::core::pair::sync::Entry;
use crate::core::pair::sync::entry::Change;

/// Walks in which every flow has its turn once: to look up each in every walk would take long.
pub const TURNS: u32 = 12;

/// Whether an entry is to be looked at in this walk.
pub fn is_due<A: Copy>(key: &FlowKey<A>, flow: &Flow<A>, walk: u32) -> bool {
    let mixed = key.ports.wrapping_mul(0x9e37_79b1) >> 16;
    !decision::is_reply(flow) && mixed % TURNS == walk % TURNS
}

/// Removes those of these forward entries that are without a reply entry. How many.
pub fn remove<A>(fd: &OwnedFd, due: &[(FlowKey<A>, Flow<A>)], told: &Told) -> io::Result<usize>
where
    A: Copy + PartialEq,
    Entry: From<Change<A>>,
    FlowKey<A>: Pod + PartialEq,
    Flow<A>: Pod,
{
    let map = open(fd)?;
    let aging = told.aging();
    let mut removed = 0;
    for (key, flow) in due {
        if partner(&map, key, flow)?.is_some() {
            continue;
        }
        let becomes = |flow: &Flow<A>| (flow.source, flow.destination, flow.ports);
        // The reply entry is written first: one that is there now belongs to another flow with this key.
        let goes = |now: &Flow<A>| {
            becomes(now) == becomes(flow) && matches!(partner(&map, key, now), Ok(None))
        };
        if remove_if(fd.as_fd(), key, goes)? {
            if aging.tells(flow) {
                told.removed(|| Change::Gone(*key, partner_key(key, flow)).into());
            }
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use forwarder_common::flow::SECOND_SHIFT;
    use forwarder_common::{V4, protocol};

    use super::super::super::batch::tests::hash_map;
    use super::super::tests::flow;
    use super::super::{Timeouts, Times, walk};
    use super::*;

    #[test]
    fn a_flow_that_can_not_be_answered_any_more_goes_though_it_is_used() {
        let now = (Duration::from_secs(1_000).as_nanos() >> SECOND_SHIFT) as u32;
        let mut used = flow(10, now);
        used.iter_mut()
            .for_each(|(key, _)| key.protocol = u32::from(protocol::UDP));
        let [forward, reply] = used;
        let others = (
            reply.0,
            Flow {
                destination: 99,
                ..reply.1
            },
        );
        for (there, left) in [
            (vec![forward, reply], 2),
            (vec![forward], 0),
            // The port is another flow's.
            (vec![forward, others], 1),
        ] {
            let fd = hash_map(size_of::<FlowKey<V4>>(), size_of::<Flow<V4>>(), 10);
            let mut map = open::<V4>(&fd).expect("a map");
            for (key, flow) in there {
                map.insert(key, flow, 0).expect("room");
            }
            let mut removed = 0;
            for turn in 0..TURNS {
                let mut census = super::super::Census::default();
                let told = Told::default();
                let times = Times {
                    all: Timeouts::default().of(super::super::Stage::Established),
                    idle: Arc::default(),
                    turn: Some(turn),
                };
                let asked = &mut Vec::new();
                let walked = walk::<V4>(&fd, now, &times, &mut census, &told, asked);
                removed += walked.expect("a walk").expired;
            }
            assert_eq!(map.keys().count(), left);
            assert_eq!(removed, u64::from(left != 2));
        }
    }
}
