//! Interleaved rounds: every case once in each, so that whatever else the machine does hits all alike.

use std::collections::BTreeSet;
use std::io;

use anyhow::{Context as _, Result, ensure};
use forwarder_common::Reason;

use super::Effort;
use super::bed::{Bed, Wrapper};
use super::case::{Case, Program};
use super::check::check;

/// CPU time that one run of a case is to take, nanoseconds: far above what a system call costs.
const RUN: f64 = 2_000_000.0;
/// Runs of a case in a round. Other work on the machine only ever adds, so the least of them counts.
const RUNS: usize = 3;
/// Packets before the first that is timed, where flows are few.
const WARM: u32 = 1_000;
/// Packets that are looked at one by one: each of another flow, as far as there are so many.
const FIRST: usize = 16;
/// Flow maps up to here are run through once before they are timed: larger ones fit no cache anyway.
const WALKED: u32 = 100_000;

/// Nanoseconds per packet: of each case, one for each round.
pub type Samples = Vec<Vec<f64>>;

/// Rounds that the effort is worth.
pub fn rounds(effort: Effort) -> usize {
    match effort {
        Effort::Correctness => 1,
        Effort::Quick => 15,
        Effort::Full => 31,
    }
}

/// Checks every case, then times them all.
pub fn all(
    wrapper: &mut Wrapper,
    beds: &mut [Bed],
    cases: &[Case],
    effort: Effort,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Samples> {
    let _pinned = Pinned::here()?;
    let rounds = rounds(effort);
    let total = cases.len() * (rounds + 1);
    let mut repeats = Vec::with_capacity(cases.len());
    let mut wrong = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        progress(at, total, &case.name);
        let bed = &mut beds[case.bed];
        match one(wrapper, bed, case, effort) {
            Ok(often) => repeats.push(often),
            Err(error) => wrong.push(format!("{}: {error:#}", case.name)),
        }
    }
    ensure!(
        wrong.is_empty(),
        "what is measured is not what it should be\n  {}",
        wrong.join("\n  ")
    );
    let mut samples = vec![Vec::with_capacity(rounds); cases.len()];
    let mut next = vec![0; cases.len()];
    for round in 0..rounds {
        for (at, case) in cases.iter().enumerate() {
            progress(cases.len() * (round + 1) + at, total, &case.name);
            let bed = &mut beds[case.bed];
            wrapper.set(bed, case, next[at])?;
            let warm = if case.fresh || case.flows > WALKED {
                WARM
            } else {
                case.flows.max(WARM)
            };
            let before = bed.counted()?;
            wrapper.run(case, warm)?;
            let mut least = f64::INFINITY;
            for _ in 0..RUNS {
                let ran = wrapper.run(case, repeats[at])?;
                least = least.min(ran.time.as_nanos() as f64 / f64::from(repeats[at]));
            }
            next[at] = wrapper.next()?;
            let packets = u64::from(warm) + RUNS as u64 * u64::from(repeats[at]);
            counted(case, &before, &bed.counted()?, packets).with_context(|| case.name.clone())?;
            samples[at].push(least);
        }
    }
    Ok(samples)
}

/// Runs one packet and holds it against what the case says; then says how often to repeat it.
fn one(wrapper: &mut Wrapper, bed: &mut Bed, case: &Case, effort: Effort) -> Result<u32> {
    flows_differ(wrapper, bed, case)?;
    wrapper.set(bed, case, 0)?;
    let before = bed.counted()?;
    let ran = wrapper.run(case, 1)?;
    counted(case, &before, &bed.counted()?, 1)?;
    ensure!(
        ran.action == case.action,
        "the program answers {}, not {}",
        ran.action,
        case.action
    );
    check(case, wrapper.out())?;
    if effort == Effort::Correctness {
        return Ok(100);
    }
    wrapper.run(case, WARM)?;
    let ran = wrapper.run(case, WARM)?;
    let each = ran.time.as_nanos() as f64 / f64::from(WARM);
    Ok((RUN / each.max(1.0)) as u32)
}

/// The wrapper makes packets of as many flows as the case has. What is measured would change them, so it is left out.
fn flows_differ(wrapper: &mut Wrapper, bed: &mut Bed, case: &Case) -> Result<()> {
    if let Program::Bare(_) = case.program {
        return Ok(());
    }
    let untouched = Case {
        program: Program::Wrapped("empty"),
        ..case.clone()
    };
    wrapper.set(bed, &untouched, 0)?;
    let mut seen = BTreeSet::new();
    for _ in 0..FIRST {
        wrapper.run(&untouched, 1)?;
        seen.insert(wrapper.out().to_vec());
    }
    let wanted = FIRST.min(case.flows as usize);
    ensure!(
        seen.len() == wanted,
        "the first {FIRST} packets are of {} flows, not of {wanted}",
        seen.len()
    );
    Ok(())
}

/// Every packet has ended in the case's reason, and in no other.
fn counted(case: &Case, before: &[u64], after: &[u64], packets: u64) -> Result<()> {
    let Program::Path = case.program else {
        return Ok(());
    };
    let expected = case.reason.context("a reason")?;
    for ((reason, before), after) in Reason::ALL.iter().zip(before).zip(after) {
        let wanted = if *reason == expected { packets } else { 0 };
        ensure!(
            after - before == wanted,
            "{} packets ended in {}, of {packets} that should in {}",
            after - before,
            reason.name(),
            expected.name()
        );
    }
    Ok(())
}

/// The thread stays on the CPU that it is on, until this is dropped.
pub struct Pinned(libc::cpu_set_t);

impl Pinned {
    /// From now on.
    pub fn here() -> Result<Self> {
        // SAFETY: plain sets of bits of the size given; the calls concern this thread alone.
        unsafe {
            let mut before: libc::cpu_set_t = std::mem::zeroed();
            let size = size_of::<libc::cpu_set_t>();
            if libc::sched_getaffinity(0, size, &raw mut before) != 0 {
                return Err(io::Error::last_os_error().into());
            }
            let cpu = usize::try_from(libc::sched_getcpu()).unwrap_or(0);
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            if libc::sched_setaffinity(0, size, &raw const one) != 0 {
                return Err(io::Error::last_os_error().into());
            }
            Ok(Self(before))
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.0) };
    }
}
