//! Two groups, each preferred by another node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::claim::Role::{self, Active, Standby};
use super::super::claim::{Cause, Change};
use super::super::{Effect, GroupLease, Pair, Unable, Wanted, group};
use super::simulation::{FAILBACK, GRACE, settings};

const GROUPS: [u16; 2] = [0, 7];

/// A group that comes later.
const NEW: u16 = 9;

struct Two {
    nodes: [Option<Pair>; 2],
    now: Duration,
    changes: [Vec<Change>; 2],
    leases: [Vec<GroupLease>; 2],
}

impl Two {
    fn start() -> Self {
        let mut two = Self {
            nodes: [None, None],
            now: Duration::from_secs(1),
            changes: Default::default(),
            leases: Default::default(),
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
            place: 1,
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
                    match effect {
                        Effect::Send(path, datagram) => {
                            if let Some(peer) = &mut self.nodes[1 - from] {
                                let _ = peer.datagram(path, &datagram, now);
                            }
                        }
                        Effect::Lease(_, leases) => self.leases[from] = leases,
                        Effect::Changed(change) => {
                            if change.role == Active {
                                let place = if change.group == NEW { 2 } else { 1 };
                                let lease = self.leases[from][place];
                                assert!(change.group == 0 || lease.answer > now, "{change:?}");
                            }
                            self.changes[from].push(change);
                        }
                    }
                }
            }
        }
    }

    /// A reload at one node.
    fn regroup(&mut self, index: usize, ids: &[u16], from: Option<u16>) {
        let first = settings(index as u8, true).groups[0];
        let wanted = |(id, place)| Wanted {
            settings: group::Settings {
                id,
                place,
                priority: if (id == 0) == (index == 0) { 200 } else { 100 },
                ..first
            },
            epoch: 0,
            from: from.filter(|_| id == NEW),
        };
        let all = [(GROUPS[0], 0), (GROUPS[1], 1), (NEW, 2)];
        let wanted: Vec<_> = all
            .into_iter()
            .filter(|(id, _)| ids.contains(id))
            .map(wanted)
            .collect();
        let (now, pair) = (self.now, self.nodes[index].as_mut().expect("it runs"));
        pair.set_groups(&wanted, GRACE, now);
    }

    fn role(&self, index: usize, id: u16) -> Option<Role> {
        let view = self.nodes[index].as_ref().expect("it runs").view(self.now);
        let group = view.groups.iter().find(|group| group.id == id);
        group.map(|group| group.role)
    }

    fn forget_news(&mut self) {
        self.changes = Default::default();
    }

    /// What happened to groups at a node since this was asked last, without what is announced again.
    fn news(&mut self, index: usize) -> Vec<(u16, Role, Cause)> {
        let changes = std::mem::take(&mut self.changes[index]);
        let changes = changes
            .iter()
            .map(|change| (change.group, change.role, change.cause));
        changes
            .filter(|(.., cause)| *cause != Cause::Healed)
            .collect()
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

#[test]
fn a_group_that_comes_is_decided_when_both_know_it_and_moves_no_other() {
    let mut two = Two::start();
    two.forget_news();
    two.regroup(0, &[0, 7, NEW], None);
    two.run(2_000);
    assert_eq!((two.role(0, NEW), two.role(1, NEW)), (Some(Standby), None));
    assert_eq!(two.leases[0][2], GroupLease::default());
    two.regroup(1, &[0, 7, NEW], None);
    two.run(200);
    assert_eq!(
        (two.role(0, NEW), two.role(1, NEW)),
        (Some(Standby), Some(Active))
    );
    assert_eq!(two.news(0), []);
    assert_eq!(two.news(1), [(NEW, Active, Cause::Offered)]);
    // Where the other one is gone, who knows it carries it.
    two.nodes[1] = None;
    two.run(300);
    assert_eq!(two.role(0, NEW), Some(Active));
}

#[test]
fn a_group_is_carried_by_the_only_one_that_knows_it_when_the_other_dies() {
    let mut two = Two::start();
    two.regroup(0, &[0, 7, NEW], None);
    two.run(1_000);
    assert_eq!(two.role(0, NEW), Some(Standby));
    two.nodes[1] = None;
    two.run(300);
    assert_eq!(two.role(0, NEW), Some(Active));
}

#[test]
fn who_carries_what_a_group_is_made_of_goes_on_with_it() {
    for order in [[0, 1], [1, 0]] {
        let mut two = Two::start();
        two.forget_news();
        // Of what the first node carries; preferred by the second.
        two.regroup(order[0], &[0, 7, NEW], Some(0));
        two.run(1_000);
        let carried = if order[0] == 0 { Active } else { Standby };
        assert_eq!(two.role(order[0], NEW), Some(carried));
        two.regroup(order[1], &[0, 7, NEW], Some(0));
        two.run(100);
        assert_eq!(
            (two.role(0, NEW), two.role(1, NEW)),
            (Some(Active), Some(Standby))
        );
        assert_eq!(two.news(0), [(NEW, Active, Cause::Regrouped)]);
        assert_eq!(two.news(1), []);
        two.run(FAILBACK.as_millis() as u64);
        assert_eq!(
            (two.role(0, NEW), two.role(1, NEW)),
            (Some(Standby), Some(Active))
        );
    }
}

#[test]
fn a_group_that_goes_is_given_up_at_once_and_taken_by_nobody() {
    for first in [0, 1] {
        let mut two = Two::start();
        two.forget_news();
        two.regroup(first, &[0], None);
        two.run(2_000);
        let (kept, gone) = (two.role(1 - first, 7), two.role(first, 7));
        assert_eq!(
            (kept, gone),
            (Some(if first == 0 { Active } else { Standby }), None)
        );
        assert_eq!(two.leases[first][1], GroupLease::default());
        two.regroup(1 - first, &[0], None);
        two.run(2_000);
        assert_eq!(
            (two.role(0, 0), two.role(1, 0)),
            (Some(Active), Some(Standby))
        );
        assert_eq!(two.news(0), []);
        assert_eq!(two.news(1), [(7, Standby, Cause::Removed)]);
        assert_eq!(two.leases[1][1], GroupLease::default());
    }
}
