//! Prints the figures of `docs/decisions/0001-lookup-table.md`; run it in release.

use std::time::Instant;

use forwarder::core::table::{Member, build, size};

#[path = "../src/core/table/figures.rs"]
mod figures;
use figures::{evenness, excess, members};

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
