//! Whole chains: packets are made, go through a forwarder between network namespaces, and are counted.
//!
//! Everything that happens to a packet is done by one thread on one CPU: the kernel runs the receiving side of a veth
//! device in a software interrupt on the CPU that sent. So its CPU time is the cost of the whole chain, and what a
//! forwarder costs is the difference to a chain without one.

pub(super) mod chain;
pub(super) mod daemon;
pub(super) mod meter;
pub(super) mod network;
mod plan;
mod rival;
pub(super) mod router;
mod tcp;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::measure::{Pinned, rounds};
use super::report::{self, Report, Sample};
use super::{Effort, scene};
use chain::BATCH;
use meter::Meter;
use plan::Plan;
pub use plan::{DROP, GENERATOR};

/// The way of connections that has nothing in it: subtracted from the others.
pub const DIRECT: &str = "direct";
/// CPU time that one run of a chain is to take, nanoseconds.
const RUN: f64 = 8_000_000.0;
/// Runs of a chain in a round; the least counts, since other work only ever adds.
const RUNS: usize = 3;

/// Names of everything that there is to measure.
pub fn names(effort: Effort) -> Vec<String> {
    let ways = tcp::names().into_iter().map(str::to_owned);
    plan::names(effort).into_iter().chain(ways).collect()
}

/// Measures chains whose names contain `only`, beside what is subtracted and compared with. `binary` is the daemon's program.
///
/// # Errors
/// Something that is needed is missing, or packets do not arrive as they should.
pub fn wire(
    effort: Effort,
    only: &str,
    binary: &Path,
    progress: &mut (dyn FnMut(usize, usize, &str) + Send),
) -> Result<Report> {
    // A thread of its own, since it changes its network namespace.
    thread::scope(|scope| {
        let thread = scope.spawn(|| run(effort, only, binary, progress));
        let panicked = |_| anyhow::anyhow!("the measuring thread panicked");
        thread.join().map_err(panicked)?
    })
}

fn run(
    effort: Effort,
    only: &str,
    binary: &Path,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Report> {
    progress(0, 2, "starting what is measured");
    let mut plan = Plan::new(effort, only, binary)?;
    progress(0, 2, "starting what is measured with TCP");
    let mut tcp = tcp::Bench::new(binary)?;
    tcp.ways
        .retain(|way| way.name.contains(only) || way.name == DIRECT);
    let rounds = rounds(effort);
    let total = (plan.chains.len() + tcp.ways.len()) * (rounds + 1);
    let mut done = 0;
    let mut step = |what: &str| {
        progress(done, total, what);
        done += 1;
    };
    let pinned = Pinned::here()?;
    let mut meter = Meter::here();
    plan.network.enter()?;
    let mut packets = Vec::new();
    for chain in &plan.chains {
        step(&chain.name);
        plan.ends.establish(chain, &meter)?;
        packets.push(match effort {
            Effort::Correctness => BATCH,
            _ => (RUN / plan.ends.cost(chain, 4 * 1_024, &meter)?.max(1.0)) as u32,
        });
    }
    if effort != Effort::Correctness {
        let (ends, chains) = (&mut plan.ends, &plan.chains);
        let plain = Meter::here();
        let reference = chains
            .iter()
            .zip(&packets)
            .find(|(chain, _)| chain.name == plan::REFERENCE);
        if let Some((chain, packets)) = reference {
            meter.calibrate(|| ends.cost(chain, *packets, &plain).map(drop))?;
        }
    }
    for way in &tcp.ways {
        step(&way.name);
        tcp.check(way)?;
    }
    let mut samples = vec![Vec::with_capacity(rounds); plan.chains.len()];
    let mut connections = vec![Vec::with_capacity(rounds); tcp.ways.len()];
    for _ in 0..rounds {
        plan.network.enter()?;
        for ((chain, packets), samples) in plan.chains.iter().zip(&packets).zip(&mut samples) {
            step(&chain.name);
            if effort != Effort::Correctness {
                plan.ends.cost(chain, chain.flows.max(BATCH), &meter)?;
            }
            let mut least = f64::INFINITY;
            for _ in 0..RUNS {
                least = least.min(plan.ends.cost(chain, *packets, &meter)?);
            }
            samples.push(least);
        }
        for (way, samples) in tcp.ways.iter().zip(&mut connections) {
            step(&way.name);
            samples.push(tcp.measure(way, effort, &meter)?);
        }
    }
    drop(pinned);
    let chains = plan
        .chains
        .iter()
        .zip(samples)
        .map(|(chain, costs)| Sample {
            name: chain.name.clone(),
            ipv6: chain.ipv6,
            costs,
        });
    let ways = tcp.ways.iter().zip(connections);
    let ways = ways.map(|(way, costs)| (way.name.clone(), costs));
    let missing = plan.missing.iter().chain(&tcp.missing).cloned().collect();
    let hash = scene::hash(plan.configs.iter().chain(&tcp.configs).map(String::as_str));
    Ok(report::wire(
        chains.collect(),
        ways.collect(),
        missing,
        effort,
        hash,
    ))
}

/// Lets the others work.
fn pause() {
    pause_for(Duration::from_millis(2));
}

/// Lets the others work for so long.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that measures is nobody else's"
)]
pub(super) fn pause_for(time: Duration) {
    thread::sleep(time);
}
