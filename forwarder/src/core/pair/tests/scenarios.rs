//! What must come of each thing that can happen, one by one.

use std::time::Duration;

use super::super::Pair;
use super::super::claim::{Cause, Change, Health, Role};
use super::super::hand_over::{Side, Unable};
use super::super::partition::Policy;
use super::simulation::{GRACE, Simulation, Witness};

/// Started, and node 0, which has the higher priority, is active.
fn settled(preempt: bool) -> Simulation {
    let mut pair = Simulation::new(1, preempt);
    pair.run(2_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert!(pair.both.is_empty());
    pair
}

fn roles(pair: &Simulation) -> [Option<Role>; 2] {
    [pair.role(0), pair.role(1)]
}

/// Milliseconds until the node answers for the VIPs.
fn until_it_answers(pair: &mut Simulation, index: usize) -> u64 {
    let from = pair.now;
    while !pair.answers(index) {
        assert!(pair.now < from + 5_000, "node {index} never answers");
        pair.run(1);
    }
    pair.now - from
}

#[test]
fn a_node_that_dies_is_replaced_within_the_detection_time() {
    let mut pair = settled(false);
    pair.kill(0);
    let gap = until_it_answers(&mut pair, 1);
    assert!((100..=220).contains(&gap), "{gap} ms");
    pair.start(0);
    pair.run(5_000);
    // No failback without preempt.
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    assert!(pair.both.is_empty());
}

#[test]
fn a_stopped_node_wakes_up_as_standby() {
    let mut pair = settled(false);
    pair.sleep(0, 1_000);
    let gap = until_it_answers(&mut pair, 1);
    assert!(gap <= 220, "{gap} ms");
    pair.run(3_000);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    assert!(pair.both.is_empty(), "{:?}", pair.both);
}

/// As [`settled`], where the data planes answer echoes.
fn reflecting() -> Simulation {
    let mut pair = Simulation::new(1, false).reflecting(true);
    // No echo has come to a daemon for long enough.
    pair.run(4_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    pair
}

#[test]
fn a_starved_daemon_is_not_dead_where_the_data_plane_answers() {
    let mut pair = reflecting();
    for _ in 0..20 {
        pair.sleep(0, 350);
        pair.sleep(1, 350);
        for _ in 0..500 {
            pair.run(1);
            assert!(pair.answers(0));
        }
    }
    assert_eq!(pair.nodes[0].changes.len() + pair.nodes[1].changes.len(), 1);
}

#[test]
fn one_that_answers_by_itself_is_replaced_when_its_lease_has_run_out() {
    let mut pair = reflecting();
    pair.kill(0);
    let mut gap = 0;
    for _ in 0..1_000 {
        pair.run(1);
        gap += u64::from(!pair.answers(0) && !pair.answers(1));
    }
    assert!(pair.answers(1) && pair.both.is_empty());
    assert!((100..=220).contains(&gap), "{gap} ms");
}

#[test]
fn a_stopped_standby_changes_nothing() {
    let mut pair = settled(false);
    pair.sleep(1, 3_000);
    pair.run(6_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert!(pair.both.is_empty());
    assert_eq!(pair.nodes[0].changes.len(), 1);
}

#[test]
fn a_hand_over_waits_until_the_peer_knows_of_all_flows() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut pair = settled(false);
        pair.untold(0, 4_000);
        // Whichever of them is asked.
        pair.at(from, |own, now| {
            assert_eq!(own.fail_over(None, from == 1, now), Ok(()))
        });
        pair.run(3_900);
        assert!(pair.answers(0), "asked at {from}, {to} does not know all");
        pair.run(200);
        assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
        let causes: Vec<_> = pair.nodes[0].changes.iter().map(|(_, c)| c.cause).collect();
        assert!(causes.ends_with(&[Cause::HandOver, Cause::Taken]));
        assert!(pair.both.is_empty());
    }
}

#[test]
fn a_hand_over_does_not_wait_for_ever() {
    let mut pair = settled(false);
    pair.untold(0, u64::MAX);
    pair.at(0, |own, now| own.set_maintenance(true, now));
    pair.run(9_900);
    assert!(pair.answers(0));
    pair.run(300);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    let told = |(_, change): &(u64, Change)| change.cause == Cause::HandOverUntold;
    assert!(pair.nodes[0].changes.iter().any(told), "it is said");
}

#[test]
fn with_a_broken_interface_no_flow_is_waited_for() {
    let mut pair = settled(false);
    pair.untold(0, u64::MAX);
    pair.set_health(0, Health::Degraded);
    pair.run(100);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
}

#[test]
fn what_another_process_of_the_peer_was_told_does_not_count() {
    let mut pair = settled(false);
    let before = pair.nodes[0].pair.as_ref().map(Pair::peer_process);
    pair.kill(1);
    pair.start(1);
    pair.untold(0, u64::MAX);
    pair.run(1_000);
    pair.at(0, |own, now| {
        assert_eq!(own.fail_over(None, false, now), Ok(()));
        let later = now + Duration::from_secs(60);
        own.told(before.expect("it runs"), later, now);
    });
    pair.run(1_000);
    assert!(pair.answers(0), "the new process knows nothing");
    pair.untold(0, 0);
    pair.run(100);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
}

#[test]
fn the_operator_moves_it_to_and_fro() {
    let mut pair = settled(false);
    pair.at(1, |own, now| {
        assert_eq!(own.fail_over(None, false, now), Err(Unable::Already))
    });
    pair.at(0, |own, now| {
        assert_eq!(own.fail_over(None, false, now), Ok(()))
    });
    let gap = until_it_answers(&mut pair, 1);
    assert!(gap <= 20, "{gap} ms");
    pair.run(10);
    assert!(pair.forwards(0), "packets on their way to the old node");
    pair.run(GRACE.as_millis() as u64 + 10);
    assert!(!pair.forwards(0));
    pair.run(5_000);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    pair.at(0, |own, now| {
        assert_eq!(own.fail_over(None, true, now), Ok(()))
    });
    pair.run(100);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert!(pair.both.is_empty());
}

#[test]
fn somebody_forwards_at_every_moment_of_a_hand_over() {
    for seed in 0..50 {
        let mut pair = Simulation::new(seed, false);
        pair.run(2_000);
        pair.at(0, |own, now| own.set_maintenance(true, now));
        for _ in 0..1_000 {
            pair.run(1);
            assert!(pair.forwards(0) || pair.forwards(1), "seed {seed}");
        }
        assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
        assert!(pair.both.is_empty());
    }
}

#[test]
fn a_node_in_maintenance_takes_nothing_and_its_peer_hands_nothing_over() {
    let mut pair = settled(false);
    pair.at(1, |own, now| own.set_maintenance(true, now));
    pair.run(200);
    pair.at(0, |own, now| {
        assert_eq!(
            own.fail_over(None, false, now),
            Err(Unable::Maintenance(Side::Peer))
        )
    });
    pair.at(1, |own, now| {
        assert_eq!(
            own.fail_over(None, true, now),
            Err(Unable::Maintenance(Side::Own))
        )
    });
    pair.kill(0);
    pair.run(2_000);
    assert_eq!(roles(&pair), [None, Some(Role::Standby)]);
    pair.at(1, |own, now| own.set_maintenance(false, now));
    pair.run(100);
    assert_eq!(pair.role(1), Some(Role::Active));
}

#[test]
fn the_preferred_node_takes_it_back_after_the_delay() {
    let mut pair = settled(true);
    pair.kill(0);
    pair.run(3_000);
    pair.start(0);
    pair.run(1_500);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    pair.run(1_500);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert!(pair.both.is_empty());
}

#[test]
fn a_node_without_a_working_interface_steps_aside_at_once() {
    let mut pair = settled(false);
    pair.set_health(0, Health::Degraded);
    let gap = until_it_answers(&mut pair, 1);
    assert!(gap <= 20, "{gap} ms");
    pair.set_health(0, Health::Sound);
    pair.run(2_000);
    pair.set_health(1, Health::Isolated);
    pair.run(50);
    assert_eq!(pair.role(1), Some(Role::Standby));
    assert!(until_it_answers(&mut pair, 0) <= 200);
    pair.set_health(1, Health::Sound);
    pair.run(3_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert!(pair.both.is_empty());
}

#[test]
fn two_nodes_that_are_cut_apart_both_serve_and_one_stays() {
    let mut pair = settled(false);
    pair.cut(true);
    pair.run(2_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Active)]);
    pair.cut(false);
    let healed = pair.now;
    pair.run(1_000);
    // The one that took over knows more.
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    let last = pair.both.last().expect("both were active");
    assert!(last - healed <= 60, "two owners for {} ms", last - healed);
    assert!(pair.nodes[1].announced >= pair.nodes[0].answered);
    let causes: Vec<Cause> = pair.nodes[1]
        .changes
        .iter()
        .map(|(_, change)| change.cause)
        .collect();
    assert!(causes.contains(&Cause::Healed), "{causes:?}");
}

#[test]
fn one_path_of_two_is_enough_and_one_way_loss_is_a_path_down() {
    let mut pair = settled(false);
    pair.paths[0].loss = [30, 30];
    pair.run(5_000);
    pair.paths[0].loss = [100, 0];
    pair.run(5_000);
    assert_eq!(roles(&pair), [Some(Role::Active), Some(Role::Standby)]);
    assert_eq!(pair.nodes[0].changes.len(), 1, "no false failover");
    let view = pair.nodes[1]
        .pair
        .as_ref()
        .expect("runs")
        .view(pair.clock(1));
    let words: Vec<_> = view.paths.iter().map(|path| path.state.word()).collect();
    assert_eq!(words, ["down", "up"]);
}

#[test]
fn a_hand_over_need_not_wait_for_an_older_one() {
    let mut pair = Simulation::new(1, false);
    while pair.role(0) != Some(Role::Active) {
        pair.run(1);
    }
    pair.run(60);
    pair.at(0, |own, now| {
        assert_eq!(own.fail_over(None, false, now), Ok(()))
    });
    assert!(until_it_answers(&mut pair, 1) <= 20);
    pair.run(60);
    pair.at(0, |own, now| {
        assert_eq!(own.fail_over(None, true, now), Ok(()))
    });
    assert!(until_it_answers(&mut pair, 0) <= 80);
    assert!(pair.both.is_empty());
}

#[test]
fn what_nobody_takes_goes_on_while_the_daemon_is_replaced() {
    let mut pair = reflecting();
    pair.kill(1);
    pair.run(2_000);
    pair.at(0, |own, now| {
        own.set_maintenance(true, now);
        own.linger(Duration::from_secs(30), now);
    });
    pair.kill(0);
    for _ in 0..3_000 {
        pair.run(1);
        assert!(pair.answers(0) && pair.forwards(0));
    }
    // A peer that comes meanwhile is answered, and leaves it there.
    pair.start(1);
    for _ in 0..3_000 {
        pair.run(1);
        assert!(pair.answers(0) && !pair.answers(1));
    }
    pair.start(0);
    for _ in 0..3_000 {
        pair.run(1);
        assert!(pair.forwards(0) || pair.forwards(1));
    }
    assert!(pair.answers(0) != pair.answers(1) && pair.both.is_empty());
}

#[test]
fn nobody_lingers_who_has_nothing_or_would_have_to_stop_by_itself() {
    let mut pair = reflecting();
    pair.at(1, |own, now| own.linger(Duration::from_secs(30), now));
    pair.kill(1);
    pair.run(1_000);
    assert!(!pair.answers(1) && !pair.forwards(1));

    let mut pair = Simulation::with(1, false, Policy::Yield, Witness::Nobody).reflecting(true);
    pair.run(4_000);
    pair.at(0, |own, now| own.linger(Duration::from_secs(30), now));
    pair.kill(0);
    pair.run(1_000);
    assert!(!pair.answers(0) && !pair.forwards(0));
}

#[test]
fn who_has_not_had_its_first_turn_has_not_listened() {
    let mut pair = Simulation::new(0, false);
    pair.run(1_000);
    pair.kill(0);
    // So long that the other answered no echo lately, and has a long lease.
    pair.run(2_100);
    pair.start(0);
    pair.sleep(0, 600);
    pair.run(600);
    pair.kill(1);
    pair.run(2_000);
    assert!(pair.answers(0), "{:?}", pair.nodes[0].changes);
    assert!(pair.both.is_empty(), "both answered at {:?}", pair.both);
}
