use proptest::prelude::*;

use super::*;

#[path = "figures.rs"]
mod figures;
use figures::{evenness, excess, members};

#[test]
fn shares_follow_weights_and_a_change_moves_little() {
    for count in [2, 3, 8, 10, 16, 17, 64, 100] {
        for weights in [|_| 1, |index| 1 + (index % 10) as u8] {
            for seed in 0..8 {
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
