//! Next hops that are asked by broadcast: their last MAC address is used meanwhile.
//!
//! The kernel asks a neighbour that it knows by unicast only, so one that may have moved is forgotten and resolved
//! again. What the kernel tells of that comes in this order, however late it is read: what was before, that the
//! old entry has failed, that it is gone, what becomes of the new one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::io::netlink::{Mac, Neighbour, NeighbourState};

/// Interface and address of a next hop.
pub type Key = (u32, IpAddr);

/// Those that are being asked.
#[derive(Debug, Default)]
pub struct Moving(BTreeMap<Key, Asked>);

#[derive(Debug)]
struct Asked {
    mac: Mac,
    /// Whether the kernel has told that the old entry is gone.
    is_gone: bool,
}

impl Moving {
    /// The kernel has forgotten an entry that had this MAC address.
    pub fn begin(&mut self, key: Key, mac: Mac) {
        let asked = Asked {
            mac,
            is_gone: false,
        };
        self.0.insert(key, asked);
    }

    /// What an entry is to be taken for, given what the kernel says.
    pub fn note(&mut self, neighbour: Neighbour) -> Neighbour {
        let key = (neighbour.ifindex, neighbour.address);
        let Some(asked) = self.0.get_mut(&key) else {
            return neighbour;
        };
        if asked.is_gone && neighbour.state != NeighbourState::Incomplete {
            self.0.remove(&key);
            return neighbour;
        }
        // The old entry's last answer may have been another.
        asked.mac = neighbour.mac.unwrap_or(asked.mac);
        Neighbour {
            mac: Some(asked.mac),
            state: NeighbourState::Incomplete,
            ..neighbour
        }
    }

    /// The kernel says that an entry is gone; whether that is the one that was forgotten.
    pub fn gone(&mut self, key: Key) -> bool {
        match self.0.get_mut(&key) {
            Some(asked) if !asked.is_gone => {
                asked.is_gone = true;
                true
            }
            _ => {
                self.0.remove(&key);
                false
            }
        }
    }

    /// Events were lost, among them perhaps those of the old entries.
    pub fn lost(&mut self) {
        self.0.values_mut().for_each(|asked| asked.is_gone = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (3, IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11)));
    const OLD: Mac = [2, 0, 0, 0, 0, 1];
    const NEW: Mac = [2, 0, 0, 0, 0, 2];

    fn event(state: NeighbourState, mac: Option<Mac>) -> Neighbour {
        Neighbour {
            ifindex: KEY.0,
            address: KEY.1,
            mac,
            state,
        }
    }

    /// The MAC address after an event.
    fn mac(moving: &mut Moving, state: NeighbourState, mac: Option<Mac>) -> Option<Mac> {
        moving.note(event(state, mac)).mac
    }

    #[test]
    fn the_last_mac_is_used_until_the_new_entry_has_one() {
        use NeighbourState::{Failed, Incomplete, Reachable};
        let mut moving = Moving::default();
        moving.begin(KEY, OLD);
        assert_eq!(mac(&mut moving, Failed, None), Some(OLD), "our own doing");
        assert!(moving.gone(KEY));
        assert_eq!(mac(&mut moving, Incomplete, None), Some(OLD));
        assert_eq!(mac(&mut moving, Reachable, Some(NEW)), Some(NEW));
        assert_eq!(mac(&mut moving, Failed, None), None, "it is over");
        assert!(!moving.gone(KEY), "somebody else's doing");
    }

    /// On a busy machine an answer may have come before the entry was forgotten, and is read after it.
    #[test]
    fn what_was_before_ends_nothing() {
        use NeighbourState::{Failed, Probe, Reachable};
        let mut moving = Moving::default();
        moving.begin(KEY, OLD);
        for (state, says) in [(Probe, OLD), (Reachable, OLD), (Reachable, NEW)] {
            assert_eq!(mac(&mut moving, state, Some(says)), Some(says));
        }
        assert_eq!(mac(&mut moving, Failed, None), Some(NEW));
        assert!(moving.gone(KEY));
        assert_eq!(mac(&mut moving, Reachable, Some(NEW)), Some(NEW));
    }

    #[test]
    fn a_new_entry_that_fails_has_none() {
        use NeighbourState::{Failed, Incomplete};
        let mut moving = Moving::default();
        moving.begin(KEY, OLD);
        assert!(moving.gone(KEY));
        assert_eq!(mac(&mut moving, Incomplete, None), Some(OLD));
        assert_eq!(mac(&mut moving, Failed, None), None);
        // It is not asked by broadcast any more, but deleted by somebody.
        assert!(!moving.gone(KEY));

        moving.begin(KEY, OLD);
        moving.lost();
        assert_eq!(mac(&mut moving, Failed, None), None, "nothing else comes");
    }
}
