//! What is wrong with this node itself: whether the peer had better be active.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::claim::Health;

/// By so much later one node may notice than the other what concerns both.
const SETTLE: Duration = Duration::from_secs(2);
/// Next hops that have never answered have so long to do so.
const FIRST: Duration = Duration::from_secs(5);

/// How an interface of the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its device.
    pub device: String,
    /// Whether it is there, up, and has a carrier.
    pub carries: bool,
    /// Whether our program is attached, or can be again at once.
    pub attached: bool,
    /// Whether any next hop behind it answers; `None`: nobody is wanted there.
    pub next_hop: Option<bool>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An interface has no link.
    Link(String),
    /// Our program cannot be attached to an interface.
    Program(String),
    /// No next hop behind an interface answers.
    NextHop(String),
    /// The maps can't be written or read.
    Maps,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(device) => write!(f, "{device} has no link"),
            Self::Program(device) => write!(f, "the program can't be attached to {device}"),
            Self::NextHop(device) => write!(f, "no next hop behind {device} answers"),
            Self::Maps => f.write_str("the maps don't answer"),
        }
    }
}

/// Something that may be right or wrong, and counts only after a while.
#[derive(Clone, Copy, Debug)]
struct Settling {
    right: bool,
    since: Duration,
    /// Whether it was ever right.
    known: bool,
    wrong: bool,
}

impl Settling {
    fn new(right: bool, now: Duration) -> Self {
        Self {
            right,
            since: now,
            known: right,
            wrong: false,
        }
    }

    /// Whether it counts as wrong. What concerns both nodes is to move nothing: the active node is slow to find
    /// fault with itself and quick to forget it, the standby the other way round.
    fn update(&mut self, right: bool, active: bool, now: Duration) -> bool {
        if self.right != right {
            (self.right, self.since) = (right, now);
        }
        self.known |= right;
        let wait = match (right, active) {
            (false, _) if !self.known => FIRST,
            (false, true) | (true, false) => SETTLE,
            (false, false) | (true, true) => Duration::ZERO,
        };
        if now >= self.since + wait {
            self.wrong = !right;
        }
        self.wrong
    }
}

/// What is known of this node.
#[derive(Clone, Debug, Default)]
pub struct Local {
    next_hops: BTreeMap<String, Settling>,
    maps: Option<Settling>,
}

impl Local {
    /// What is wrong now. `maps`: whether they could be written and read the last time; `active`: whether this
    /// node carries a group.
    pub fn faults(
        &mut self,
        interfaces: &[Interface],
        maps: bool,
        active: bool,
        now: Duration,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.next_hops
            .retain(|device, _| interfaces.iter().any(|each| each.device == *device));
        for interface in interfaces {
            let device = || interface.device.clone();
            let gone = interface.next_hop.is_some_and(|answers| {
                let known = self.next_hops.entry(device());
                let known = known.or_insert_with(|| Settling::new(answers, now));
                known.update(answers, active, now)
            });
            if !interface.carries {
                faults.push(Fault::Link(device()));
            } else if !interface.attached {
                faults.push(Fault::Program(device()));
            } else if gone {
                faults.push(Fault::NextHop(device()));
            }
        }
        let known = self.maps.get_or_insert_with(|| Settling::new(true, now));
        if known.update(maps, active, now) {
            faults.push(Fault::Maps);
        }
        faults
    }
}

/// How well a node is that has so many interfaces. Whoever can't be reached at all is of no use to anybody; a
/// node without a next hop is still better than none.
pub fn health(faults: &[Fault], interfaces: usize) -> Health {
    let dead = |fault: &&Fault| matches!(fault, Fault::Link(_) | Fault::Program(_));
    match faults.iter().filter(dead).count() {
        count if count == interfaces => Health::Isolated,
        _ if faults.is_empty() => Health::Sound,
        _ => Health::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth(device: &str, next_hop: Option<bool>) -> Interface {
        Interface {
            device: device.to_owned(),
            carries: true,
            attached: true,
            next_hop,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn links_and_programs_count_at_once() {
        let mut local = Local::default();
        let mut interfaces = [eth("eth0", None), eth("eth1", None)];
        let mut look = |interfaces: &[Interface]| {
            let faults = local.faults(interfaces, true, true, at(1));
            (health(&faults, interfaces.len()), faults)
        };
        assert_eq!(look(&interfaces), (Health::Sound, vec![]));
        interfaces[0].attached = false;
        let fault = Fault::Program("eth0".to_owned());
        assert_eq!(look(&interfaces), (Health::Degraded, vec![fault]));
        interfaces[1].carries = false;
        assert_eq!(look(&interfaces).0, Health::Isolated);
        interfaces[0].attached = true;
        let fault = Fault::Link("eth1".to_owned());
        assert_eq!(look(&interfaces), (Health::Degraded, vec![fault]));
    }

    #[test]
    fn the_active_node_waits_for_the_peer_to_find_the_same() {
        for active in [true, false] {
            let mut local = Local::default();
            let mut look = |answers, now| {
                let interfaces = [eth("eth0", None), eth("eth1", Some(answers))];
                let faults = local.faults(&interfaces, true, active, at(now));
                !faults.is_empty()
            };
            assert!(!look(true, 1));
            assert_eq!(look(false, 10), !active);
            assert_eq!(look(false, 11), !active);
            assert!(look(false, 12));
            assert_eq!(look(true, 20), !active);
            assert!(!look(true, 22));
        }
    }

    #[test]
    fn next_hops_have_time_to_answer_for_the_first_time() {
        for active in [true, false] {
            let mut local = Local::default();
            let mut look = |answers, now| {
                let interfaces = [eth("eth1", answers)];
                local.faults(&interfaces, true, active, at(now))
            };
            assert_eq!(look(Some(false), 1), []);
            assert_eq!(look(Some(false), 5), []);
            assert_eq!(look(Some(false), 6), [Fault::NextHop("eth1".to_owned())]);
            // Nobody is wanted there any more.
            assert_eq!(look(None, 7), []);
        }
    }

    #[test]
    fn maps_that_do_not_answer_are_a_fault() {
        let mut local = Local::default();
        let mut look = |maps, now| local.faults(&[eth("eth0", None)], maps, true, at(now));
        assert_eq!(look(true, 1), []);
        assert_eq!(look(false, 2), []);
        let faults = look(false, 4);
        assert_eq!(faults, [Fault::Maps]);
        assert_eq!(health(&faults, 1), Health::Degraded);
        assert_eq!(look(true, 5), []);
    }
}
