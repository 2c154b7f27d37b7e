//! What the expiry of flows and the pair have to tell each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forwarder_common::Flow;
use forwarder_common::flow::state;
use forwarder_common::lease::GROUPS;

use crate::core::pair::sync::{Entry, Groups};

/// Removals that wait to be told. With more, all has to be told again.
const WAITING: usize = 65_536;
/// Of a node without a pair, or one that was told nothing: flows age by what they saw.
const ALWAYS: u64 = 0;
/// The peer is active: nothing that it told of ages here.
const NEVER: u64 = u64::MAX;

/// Shared by the two threads.
#[derive(Debug, Default)]
pub struct Told {
    aging: Mutex<Aging>,
    removed: Mutex<Removed>,
}

/// Which flows age.
#[derive(Clone, Debug, Default)]
pub struct Aging {
    /// Since when this node sees the packets of flows that the peer told of, in the data plane's seconds, by
    /// group; or [`ALWAYS`], [`NEVER`].
    since: [u64; GROUPS],
    /// Groups of virtual servers and egress rules, by id.
    groups: Arc<BTreeMap<u32, u8>>,
}

impl Aging {
    /// Whether the peer is to know that a flow has gone: of egress SNAT only what moves with a group.
    pub fn tells<A: Copy>(&self, flow: &Flow<A>) -> bool {
        flow.state & state::EGRESS == 0 || self.groups.contains_key(&flow.id)
    }

    /// The entry as its age is to be judged; `None`: it does not age.
    pub fn aged<A: Copy>(&self, flow: &Flow<A>) -> Option<Flow<A>> {
        if flow.state & state::TOLD == 0 {
            return Some(*flow);
        }
        let group = self.groups.get(&flow.id).copied().unwrap_or(0);
        match self.since[usize::from(group) % GROUPS] {
            ALWAYS => Some(*flow),
            since => Some(Flow {
                last_seen: flow.last_seen.max(u32::try_from(since).ok()?),
                ..*flow
            }),
        }
    }
}

#[derive(Debug, Default)]
struct Removed {
    wanted: bool,
    entries: Vec<Entry>,
    lost: bool,
}

impl Told {
    /// The peer is active for these groups: what it told of them stays.
    pub fn keep(&self, groups: Groups) {
        self.set(groups, NEVER);
    }

    /// From now on (in the data plane's seconds) this node sees for itself what happens in these groups.
    pub fn age_from(&self, groups: Groups, now: u32) {
        self.set(groups, u64::from(now));
    }

    fn set(&self, groups: Groups, since: u64) {
        let mut aging = self.aging.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, group) in aging.since.iter_mut().enumerate() {
            if groups >> place & 1 == 1 {
                *group = since;
            }
        }
    }

    /// The groups of virtual servers, and of egress rules whose addresses move, by id.
    pub fn groups(&self, groups: BTreeMap<u32, u8>) {
        let mut aging = self.aging.lock().unwrap_or_else(PoisonError::into_inner);
        aging.groups = Arc::new(groups);
    }

    /// Which flows age now.
    pub fn aging(&self) -> Aging {
        let aging = self.aging.lock().unwrap_or_else(PoisonError::into_inner);
        aging.clone()
    }

    /// Whether removals are to be kept for [`Self::take`].
    pub fn want(&self, on: bool) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        *removed = Removed {
            wanted: on,
            ..Removed::default()
        };
    }

    /// A flow has been removed.
    pub fn removed(&self, entry: impl FnOnce() -> Entry) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if !removed.wanted {
            return;
        }
        match removed.entries.len() {
            WAITING.. => removed.lost = true,
            _ => removed.entries.push(entry()),
        }
    }

    /// What was removed, and whether there was more than could be kept.
    pub fn take(&self) -> (Vec<Entry>, bool) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = std::mem::take(&mut removed.lost);
        (std::mem::take(&mut removed.entries), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pair::sync::entry::Change;

    #[test]
    fn what_was_told_ages_from_the_takeover_on() {
        let told = Told::default();
        let own = Flow::<u32> {
            last_seen: 10,
            ..Flow::default()
        };
        let peers = Flow {
            state: state::TOLD,
            ..own
        };
        let other = Flow { id: 9, ..peers };
        told.groups(BTreeMap::from([(0, 0), (9, 3)]));
        let seen = |flow| told.aging().aged(&flow).map(|flow| flow.last_seen);
        assert_eq!((seen(own), seen(peers)), (Some(10), Some(10)));
        told.keep(Groups::MAX);
        assert_eq!((seen(own), seen(peers)), (Some(10), None));
        told.age_from(1, 70);
        assert_eq!((seen(own), seen(peers)), (Some(10), Some(70)));
        assert_eq!(seen(other), None, "its group is not here yet");
        told.age_from(1 << 3, 80);
        assert_eq!((seen(peers), seen(other)), (Some(70), Some(80)));
        let used = Flow {
            last_seen: 90,
            ..peers
        };
        assert_eq!(seen(used), Some(90));
        let egress = |id| Flow {
            id,
            state: state::EGRESS,
            ..own
        };
        let told = [own, egress(9), egress(8)].map(|flow| told.aging().tells(&flow));
        assert_eq!(told, [true, true, false]);
    }

    #[test]
    fn removals_are_kept_while_they_are_wanted_and_there_is_room() {
        let told = Told::default();
        let gone = || Entry::V4(Change::Released(Default::default()));
        told.removed(gone);
        assert_eq!(told.take(), (Vec::new(), false));
        told.want(true);
        (0..=WAITING).for_each(|_| told.removed(gone));
        let (entries, lost) = told.take();
        assert_eq!((entries.len(), lost), (WAITING, true));
        assert_eq!(told.take(), (Vec::new(), false));
    }
}
