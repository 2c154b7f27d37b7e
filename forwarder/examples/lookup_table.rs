//! Prints the figures of `docs/decisions/0001-lookup-table.md`; run it in release.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use forwarder::core::table::{Member, build, size};

fn members(count: u32, seed: u32, weight: impl Fn(u32) -> u8) -> Vec<Member> {
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
fn evenness(members: &[Member], table: &[u32]) -> (f64, f64) {
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
fn excess(members: &[Member], table: &[u32], gone: usize) -> f64 {
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

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn main() {
    for count in [1, 2, 3, 10, 64, 100, 1000] {
        for (name, weights) in [
            ("equal", (|_| 1) as fn(u32) -> u8),
            ("1-10", |index| 1 + (index % 10) as u8),
        ] {
            let (mut low, mut high, mut worst, mut mean, mut runs) = (f64::MAX, 0f64, 0f64, 0.0, 0);
            let mut times = Vec::new();
            let seeds = if count == 1000 { 3 } else { 20 };
            for seed in 0..seeds {
                let members = members(count, seed, weights);
                let start = Instant::now();
                let table = build(&members, size(members.len()));
                times.push(start.elapsed().as_secs_f64() * 1e3);
                let (least, most) = evenness(&members, &table);
                (low, high) = (low.min(least), high.max(most));
                for gone in (0..count as usize).step_by((count as usize / 10).max(1)) {
                    if count > 1 {
                        let excess = excess(&members, &table, gone);
                        worst = worst.max(excess);
                        mean += excess;
                        runs += 1;
                    }
                }
            }
            let mean = mean / f64::from(runs.max(1)) * 100.0;
            let worst = worst * 100.0;
            let size = size(count as usize);
            times.sort_by(f64::total_cmp);
            let time = times[times.len() / 2];
            println!(
                "| {count} | {name} | {size} | {low:.4}–{high:.4} | {mean:.2} % | {worst:.2} % | {time:.2} ms |"
            );
        }
    }
}
