//! Random schedules of everything at once.

use proptest::prelude::*;

use super::super::claim::{Health, Role};
use super::super::partition::Policy;
use super::simulation::{REFLECTED, Simulation, TIMING, Trouble, Witness};

/// Something happens.
#[derive(Clone, Debug)]
enum Event {
    /// The process dies and comes back after so many milliseconds.
    Restart(usize, u64),
    Sleep(usize, u64),
    Jump(usize, u64),
    Trouble(usize, [u64; 2]),
    Health(usize, bool),
    Maintenance(usize, bool),
    FailOver(usize, bool),
    /// Every path is cut.
    Cut(bool),
    /// Whether a node reaches the witness.
    Witness(usize, bool),
    /// For so many milliseconds the other node does not know of all flows.
    Untold(usize, u64),
}

fn event(cuts: bool) -> impl Strategy<Value = Event> {
    let node = || 0..2usize;
    prop_oneof![
        (node(), 1..2_000u64).prop_map(|(node, time)| Event::Restart(node, time)),
        (node(), 1..2_000u64).prop_map(|(node, time)| Event::Sleep(node, time)),
        (node(), 1..10_000u64).prop_map(|(node, time)| Event::Jump(node, time)),
        // Only one path has trouble: datagrams do get through.
        (0..101u64, 0..101u64).prop_map(|(to, fro)| Event::Trouble(0, [to, fro])),
        (node(), any::<bool>()).prop_map(|(node, well)| Event::Health(node, well)),
        (node(), any::<bool>()).prop_map(|(node, on)| Event::Maintenance(node, on)),
        (node(), any::<bool>()).prop_map(|(node, here)| Event::FailOver(node, here)),
        any::<bool>().prop_map(move |on| Event::Cut(on && cuts)),
        (node(), any::<bool>()).prop_map(|(node, reaches)| Event::Witness(node, reaches)),
        (node(), 1..13_000u64).prop_map(|(node, time)| Event::Untold(node, time)),
    ]
}

fn schedule(cuts: bool) -> impl Strategy<Value = Vec<(Event, u64)>> {
    prop::collection::vec((event(cuts), 0..700u64), 1..25)
}

fn happen(pair: &mut Simulation, event: &Event, back: &mut [Option<u64>; 2]) {
    match *event {
        Event::Restart(node, time) => {
            pair.kill(node);
            back[node] = Some(pair.now + time);
        }
        Event::Sleep(node, time) => pair.sleep(node, time),
        Event::Jump(node, time) => pair.jump(node, time),
        Event::Trouble(path, loss) => pair.paths[path] = Trouble { loss },
        Event::Health(node, well) => {
            pair.set_health(
                node,
                if well {
                    Health::Sound
                } else {
                    Health::Degraded
                },
            );
        }
        Event::Maintenance(node, on) => pair.at(node, |own, now| own.set_maintenance(on, now)),
        Event::FailOver(node, here) => {
            pair.at(node, |own, now| {
                // An operator who insists must know.
                if !own.is_alone() {
                    _ = own.fail_over(None, here, now);
                }
            });
        }
        Event::Cut(cut) => pair.cut(cut),
        Event::Witness(node, reaches) => pair.reaches[node] = reaches,
        Event::Untold(node, time) => pair.untold(node, time),
    }
}

/// Clocks jump as when a machine was frozen: by more than a lease, so that the node notices.
fn frozen(events: Vec<(Event, u64)>) -> Vec<(Event, u64)> {
    let longer = |(event, pause)| match event {
        Event::Jump(node, time) => (Event::Jump(node, time + 600), pause),
        other => (other, pause),
    };
    events.into_iter().map(longer).collect()
}

fn play(pair: &mut Simulation, events: &[(Event, u64)]) {
    let mut back = [None; 2];
    for (event, pause) in events {
        happen(pair, event, &mut back);
        for _ in 0..*pause {
            pair.run(1);
            revive(pair, &mut back, false);
        }
    }
    revive(pair, &mut back, true);
}

fn revive(pair: &mut Simulation, back: &mut [Option<u64>; 2], all: bool) {
    for (node, back) in back.iter_mut().enumerate() {
        if back.take_if(|at| all || *at <= pair.now).is_some() {
            pair.start(node);
        }
    }
}

/// Everything is well again, for long enough.
fn calm(pair: &mut Simulation) {
    pair.cut(false);
    pair.reaches = [true, true];
    for node in 0..2 {
        pair.untold(node, 0);
        pair.set_health(node, Health::Sound);
        pair.at(node, |own, now| own.set_maintenance(false, now));
    }
    pair.run(6_000);
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Each simulates some ten seconds.
        cases: ProptestConfig::default().cases / 8,
        max_shrink_iters: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn while_datagrams_get_through_no_two_nodes_answer(
        seed: u64, preempt: bool, reflects: bool, events in schedule(false)
    ) {
        let mut pair = Simulation::new(seed, preempt).reflecting(reflects);
        pair.run(1_000);
        play(&mut pair, &events);
        calm(&mut pair);
        prop_assert!(pair.both.is_empty(), "both answered at {:?}", pair.both);
        check_one_owner(&mut pair, preempt)?;
    }

    #[test]
    fn after_a_cut_there_is_one_owner_and_it_has_announced(
        seed: u64, preempt: bool, reflects: bool, events in schedule(true)
    ) {
        let mut pair = Simulation::new(seed, preempt).reflecting(reflects);
        play(&mut pair, &events);
        let calm_since = pair.now;
        calm(&mut pair);
        // Sleepers wake up at most 2 s later.
        let late = pair.both.iter().find(|at| **at > calm_since + 2_200);
        prop_assert_eq!(late, None);
        check_one_owner(&mut pair, preempt)?;
    }

    #[test]
    fn where_only_the_preferred_node_stays_no_two_answer_whatever_is_cut(
        seed: u64, preempt: bool, reflects: bool, events in schedule(true),
    ) {
        let pair = Simulation::with(seed, preempt, Policy::Yield, Witness::Nobody);
        let mut pair = pair.reflecting(reflects);
        play(&mut pair, &frozen(events));
        calm(&mut pair);
        prop_assert!(pair.both.is_empty(), "both answered at {:?}", pair.both);
        check_one_owner(&mut pair, preempt)?;
    }

    #[test]
    fn where_a_lease_decides_no_two_answer_whatever_is_cut(
        seed: u64, preempt: bool, reflects: bool, events in schedule(true),
    ) {
        let policy = Policy::lease(TIMING.detection(), REFLECTED);
        let pair = Simulation::with(seed, preempt, policy, Witness::Leases(None));
        let mut pair = pair.reflecting(reflects);
        play(&mut pair, &frozen(events));
        calm(&mut pair);
        prop_assert!(pair.both.is_empty(), "both answered at {:?}", pair.both);
        check_one_owner(&mut pair, preempt)?;
    }
}

fn check_one_owner(pair: &mut Simulation, preempt: bool) -> Result<(), TestCaseError> {
    let answering: Vec<usize> = (0..2).filter(|node| pair.answers(*node)).collect();
    prop_assert_eq!(answering.len(), 1, "{:?} {:?}", pair.role(0), pair.role(1));
    let owner = answering[0];
    prop_assert_eq!(pair.role(1 - owner), Some(Role::Standby));
    if preempt {
        prop_assert_eq!(owner, 0);
    }
    let (own, other) = (&pair.nodes[owner], &pair.nodes[1 - owner]);
    prop_assert!(
        own.announced >= other.answered,
        "announced {:?}, but the other answered {:?}: {:?} {:?}",
        own.announced,
        other.answered,
        own.changes,
        other.changes
    );
    Ok(())
}
