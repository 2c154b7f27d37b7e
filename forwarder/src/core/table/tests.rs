use proptest::prelude::*;

use super::*;

#[path = "figures.rs"]
mod figures;
use figures::{evenness, excess, members};

#[test]
fn shares_follow_weights_and_a_change_moves_little() {
    for count in [2, 3, 8, 10, 16, 17, 64, 100] {
        for weights in [|_| 1, |index| 1 + (index % 10) as u8] {
            for seed in 0..4 {
                let members = members(count, seed, weights);
                let table = build(&members, size(members.len()));
                let (low, high) = evenness(&members, &table);
                assert!(low > 0.98 && high < 1.02, "{count}: {low}..{high}");
                for gone in 0..count.min(4) {
                    let excess = excess(&members, &table, gone as usize);
                    assert!(
                        excess < 0.01,
                        "{count} members, seed {seed}, {gone} gone: {excess}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_members_no_table() {
    assert!(build(&[], 4_096).is_empty());
}

#[test]
fn four_thousand_pools_fit() {
    let sizes = std::iter::repeat_n(size(4), 4_096);
    let shift = shift(sizes.clone(), 4_194_304);
    assert_eq!(scaled(size(4), shift), 1_024);
    assert_eq!(super::shift(sizes.take(256), 4_194_304), 0);
}

#[test]
fn a_large_pool_is_even_and_a_change_moves_little() {
    for weights in [|_| 1, |index| 1 + (index % 10) as u8] {
        let members = members(400, 1, weights);
        let size = size(members.len());
        let table = build(&members, size);
        let (low, high) = evenness(&members, &table);
        assert!(low > 0.98 && high < 1.02, "{low}..{high}");
        let excess = excess(&members, &table, 7);
        assert!(excess < 0.01, "{excess}");
    }
}

/// What happens to a pool: backends with these numbers come, or come with another weight (0: go).
fn changes() -> impl Strategy<Value = Vec<Vec<(u32, u16)>>> {
    let weight = prop_oneof![2 => Just(0u16), 4 => Just(10), 3 => 1u16..=1_000];
    // Now and then so many that the table is filled anew.
    let number = prop_oneof![8 => 1usize..12, 1 => 25usize..60];
    let change = number
        .prop_flat_map(move |number| proptest::collection::vec((0u32..60, weight.clone()), number));
    proptest::collection::vec(change, 1..12)
}

fn sequence_is_as_from_scratch(slots: u32, sequence: Vec<Vec<(u32, u16)>>) {
    let all = members(60, 5, |_| 1);
    let mut weights = vec![0; all.len()];
    let mut filling = Filling::new(slots);
    let mut table = Vec::new();
    for step in sequence {
        for (number, weight) in step {
            weights[number as usize] = weight;
        }
        let mut members: Vec<Member> = all.clone();
        for (member, weight) in members.iter_mut().zip(&weights) {
            member.weight = *weight;
        }
        members.retain(|member| member.weight > 0);
        members.sort_unstable();
        if members.is_empty() {
            continue;
        }
        let changes = filling.set(&members);
        let expected = build(&members, slots);
        assert!(filling.is_of(slots, &members));
        assert!(filling.table() == expected, "other than from scratch");
        // What is said to have changed is all that has.
        table.resize(slots as usize, u32::MAX);
        for (slot, backend) in changes {
            table[slot as usize] = backend;
        }
        assert!(table == expected, "changes left something out");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_table_that_changed_is_as_one_from_scratch(bits in 0u32..12, sequence in changes()) {
        sequence_is_as_from_scratch(1 << bits, sequence);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    /// Where not everybody visits all slots.
    #[test]
    fn so_is_a_large_one(sequence in changes()) {
        sequence_is_as_from_scratch(1 << 17, sequence);
    }
}

#[test]
fn so_is_one_of_more_members_than_have_bits_of_their_own() {
    let mut members = members(1_100, 5, |_| 1);
    members.sort_unstable();
    let slots = 1 << 17;
    let mut filling = Filling::new(slots);
    filling.set(&members);
    for weight in [3, 2] {
        for at in [7, 1_050] {
            members[at].weight = weight;
        }
        filling.set(&members);
        members.remove(100);
        filling.set(&members);
        assert!(filling.table() == build(&members, slots));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_does_not_matter_and_every_slot_is_filled(
        weights in proptest::collection::vec(1u8..=100, 1..40),
        bits in 0u32..10,
        turn in 0usize..40,
    ) {
        let mut members = members(weights.len() as u32, 3, |index| weights[index as usize]);
        let table = build(&members, 1 << bits);
        prop_assert_eq!(table.len(), 1 << bits);
        prop_assert!(table.iter().all(|backend| (*backend as usize) < weights.len()));
        let turn = turn % members.len();
        members.rotate_left(turn);
        members.reverse();
        prop_assert_eq!(build(&members, 1 << bits), table);
    }
}
