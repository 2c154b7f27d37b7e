//! What comes of a partition under each policy.

use super::super::claim::{Cause, Role};
use super::super::partition::Policy;
use super::simulation::{REFLECTED, Simulation, TIMING, Witness};

const BOTH: [Option<Role>; 2] = [Some(Role::Active), Some(Role::Standby)];

fn roles(pair: &Simulation) -> [Option<Role>; 2] {
    [pair.role(0), pair.role(1)]
}

/// Node `active` of two that see each other is active.
fn settled(policy: Policy, witness: Witness, active: usize) -> Simulation {
    let mut pair = Simulation::with(1, false, policy, witness);
    pair.run(2_000);
    if active == 1 {
        pair.at(0, |own, now| {
            assert_eq!(own.fail_over(None, false, now), Ok(()))
        });
        pair.run(2_000);
    }
    assert_eq!(pair.role(active), Some(Role::Active));
    pair
}

#[test]
fn the_preferred_node_has_it_while_they_are_cut_apart() {
    for active in [0, 1] {
        let mut pair = settled(Policy::Yield, Witness::Nobody, active);
        pair.cut(true);
        pair.run(1_000);
        assert_eq!(roles(&pair), BOTH);
        pair.run(5_000);
        pair.cut(false);
        pair.run(2_000);
        assert_eq!(roles(&pair), BOTH);
        assert!(pair.both.is_empty());
    }
}

#[test]
fn without_the_preferred_node_an_operator_decides() {
    let mut pair = settled(Policy::Yield, Witness::Nobody, 0);
    pair.kill(0);
    pair.run(5_000);
    assert_eq!(pair.role(1), Some(Role::Standby));
    pair.at(1, |own, now| {
        assert!(own.view(now).waits);
        assert_eq!(own.fail_over(None, true, now), Ok(()));
        assert!(!own.view(now).waits);
    });
    pair.run(10);
    assert_eq!(pair.role(1), Some(Role::Active));
    pair.start(0);
    pair.run(3_000);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    // What the operator knew then is not known the next time.
    pair.cut(true);
    pair.run(2_000);
    assert_eq!(roles(&pair), BOTH);
    assert!(pair.both.is_empty());
}

#[test]
fn a_node_that_does_not_reach_its_gateway_steps_aside() {
    let policy = Policy::gateway(TIMING.detection());
    let mut pair = settled(policy, Witness::Gateway, 0);
    pair.reaches = [false, true];
    pair.run(2_000);
    assert_eq!(roles(&pair), BOTH, "the peer is there");
    pair.cut(true);
    pair.run(600);
    assert_eq!(roles(&pair), [Some(Role::Standby), Some(Role::Active)]);
    let causes: Vec<Cause> = pair.nodes[0]
        .changes
        .iter()
        .map(|(_, change)| change.cause)
        .collect();
    assert_eq!(causes.last(), Some(&Cause::NotAllowed));
    pair.reaches = [true, false];
    pair.run(1_000);
    assert_eq!(roles(&pair), BOTH);
}

#[test]
fn one_of_two_has_the_lease() {
    for active in [0, 1] {
        let policy = Policy::lease(TIMING.detection(), REFLECTED);
        let mut pair = settled(policy, Witness::Leases(None), active);
        pair.cut(true);
        pair.run(3_000);
        let answering: Vec<_> = (0..2).filter(|node| pair.answers(*node)).collect();
        assert_eq!(answering.len(), 1, "{:?}", roles(&pair));
        // Without the witness neither may go on.
        pair.reaches = [false, false];
        pair.run(3_000);
        assert_eq!(roles(&pair), [Some(Role::Standby); 2]);
        pair.reaches[1 - active] = true;
        pair.run(3_000);
        assert_eq!(pair.role(1 - active), Some(Role::Active));
        assert_eq!(pair.role(active), Some(Role::Standby));
        assert!(pair.both.is_empty());
    }
}

#[test]
fn a_lease_does_not_stand_in_the_way_of_a_quick_takeover() {
    let policy = Policy::lease(TIMING.detection(), REFLECTED);
    let mut pair = settled(policy, Witness::Leases(None), 0);
    pair.kill(0);
    let from = pair.now;
    while !pair.answers(1) {
        assert!(pair.now < from + 1_500, "it never answers");
        pair.run(1);
    }
    println!("takeover after {} ms", pair.now - from);
}
