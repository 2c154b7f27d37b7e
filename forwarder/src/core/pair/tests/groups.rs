//! Two groups, each preferred by another node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::claim::Role::{self, Active, Standby};
use super::super::{Effect, Pair, Unable, group};
use super::simulation::{FAILBACK, settings};

const GROUPS: [u16; 2] = [0, 7];

struct Two {
    nodes: [Option<Pair>; 2],
    now: Duration,
}

impl Two {
    fn start() -> Self {
        let mut two = Self {
            nodes: [None, None],
            now: Duration::from_secs(1),
        };
        two.nodes = [0, 1].map(|own| Some(two.node(own)));
        two.run(2_000);
        two
    }

    fn node(&self, own: u8) -> Pair {
        let mut settings = settings(own, true);
        let first = settings.groups[0];
        let second = group::Settings {
            id: GROUPS[1],
            priority: if own == 0 { 100 } else { 200 },
            ..first
        };
        settings.groups = vec![first, second];
        let process = 1 + u64::from(own) + self.now.as_millis() as u64;
        Pair::new(settings, process, &BTreeMap::new(), self.now)
    }

    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += Duration::from_millis(1);
            let now = self.now;
            for from in 0..2 {
                let Some(pair) = &mut self.nodes[from] else {
                    continue;
                };
                pair.told(pair.peer_process(), now, now);
                if now >= pair.next(now) {
                    pair.timeout(true, now);
                }
                for effect in std::iter::from_fn(|| pair.poll()).collect::<Vec<_>>() {
                    if let Effect::Send(path, datagram) = effect
                        && let Some(peer) = &mut self.nodes[1 - from]
                    {
                        let _ = peer.datagram(path, &datagram, now);
                    }
                }
            }
        }
    }

    fn roles(&self, index: usize) -> [Role; 2] {
        let pair = self.nodes[index].as_ref().expect("it runs");
        let view = pair.view(self.now);
        assert_eq!([view.groups[0].id, view.groups[1].id], GROUPS);
        [view.groups[0].role, view.groups[1].role]
    }
}

#[test]
fn each_node_carries_its_group_and_one_carries_both() {
    let mut two = Two::start();
    assert_eq!(two.roles(0), [Active, Standby]);
    assert_eq!(two.roles(1), [Standby, Active]);
    two.nodes[1] = None;
    two.run(300);
    assert_eq!(two.roles(0), [Active, Active]);
    two.nodes[1] = Some(two.node(1));
    two.run(1_000);
    assert_eq!(two.roles(1), [Standby, Standby], "not before the delay");
    two.run(FAILBACK.as_millis() as u64);
    assert_eq!(two.roles(0), [Active, Standby]);
    assert_eq!(two.roles(1), [Standby, Active]);
}

#[test]
fn one_group_is_moved_alone() {
    let mut two = Two::start();
    let now = two.now;
    let own = two.nodes[0].as_mut().expect("it runs");
    let moved = own.fail_over(Some(GROUPS[1]), false, now);
    assert_eq!(moved, Err(Unable::Already));
    assert_eq!(own.fail_over(Some(GROUPS[1]), true, now), Ok(()));
    two.run(100);
    assert_eq!(two.roles(0), [Active, Active]);
    let (now, own) = (two.now, two.nodes[0].as_mut().expect("it runs"));
    assert_eq!(own.fail_over(Some(GROUPS[0]), false, now), Ok(()));
    two.run(100);
    assert_eq!(two.roles(0), [Standby, Active]);
    assert_eq!(two.roles(1), [Active, Standby]);
}
