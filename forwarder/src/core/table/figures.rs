//! How good a lookup table is; for the tests, and for the example that prints figures.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Member, build};

/// That many members, each with an address of its own; the seed makes other addresses.
pub fn members(count: u32, seed: u32, weight: impl Fn(u32) -> u8) -> Vec<Member> {
    (0..count)
        .map(|index| Member {
            address: Ipv4Addr::from_bits(0x0a00_0001 + (seed << 12) + index).into(),
            port: 80,
            weight: weight(index).into(),
            backend: index,
        })
        .collect()
}

/// Smallest and largest share against the weight, and the slots that each has.
pub fn evenness(members: &[Member], table: &[u32]) -> (f64, f64) {
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for backend in table {
        *counts.entry(*backend).or_default() += 1;
    }
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    members
        .iter()
        .map(|member| {
            let share = table.len() as f64 * f64::from(member.weight) / total;
            f64::from(counts.get(&member.backend).copied().unwrap_or(0)) / share
        })
        .fold((f64::MAX, 0.0), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        })
}

/// Share of slots that move when a member goes, beyond the member's own.
pub fn excess(members: &[Member], table: &[u32], gone: usize) -> f64 {
    let mut rest = members.to_vec();
    let gone = rest.remove(gone);
    let after = build(&rest, table.len() as u32);
    let moved = table
        .iter()
        .zip(&after)
        .filter(|(old, new)| old != new)
        .count() as f64;
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    moved / table.len() as f64 - f64::from(gone.weight) / total
}
