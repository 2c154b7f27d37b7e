//! The measuring instrument: what a packet costs here, on this machine and kernel.
//!
//! [`prog`] times the programs that daemons load with `BPF_PROG_TEST_RUN`, on maps filled from config files
//! that are made for it, in network namespaces of its own. Nothing is sent, and no running daemon is touched.

mod bars;
mod bed;
mod case;
mod cases;
mod check;
mod flows;
mod hold;
mod html;
mod measure;
mod report;
mod scale;
mod scene;
mod statistic;
mod wire;

use std::thread;

use anyhow::Result;

pub use bars::Bar;
pub use report::{Measured, Report, Row, Table};
pub use scale::scale;
pub use wire::daemon::remove_files;
pub use wire::wire;

/// How thorough to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A few cases, one round: checks that everything that is timed does what it should.
    Correctness,
    /// What the bars need and one case of each kind.
    Quick,
    /// Everything.
    Full,
}

/// Measures the programs; of the cases those whose names contain `only`, and baselines. `progress` is told how far it is, of how much, and with what.
///
/// # Errors
/// The programs do not load (that needs root), or a case did not do what it should.
pub fn prog(
    effort: Effort,
    only: &str,
    progress: &mut (dyn FnMut(usize, usize, &str) + Send),
) -> Result<Report> {
    // A thread of its own, since it changes its network namespace.
    thread::scope(|scope| {
        let thread = scope.spawn(|| run(effort, only, progress));
        let panicked = |_| anyhow::anyhow!("the measuring thread panicked");
        thread.join().map_err(panicked)?
    })
}

fn run(effort: Effort, only: &str, progress: &mut dyn FnMut(usize, usize, &str)) -> Result<Report> {
    let mut wrapper = bed::Wrapper::new(effort)?;
    let mut beds = scene::Kind::ALL
        .iter()
        .filter(|kind| effort == Effort::Full || !kind.is_for_full_only())
        .enumerate()
        .map(|(at, kind)| {
            progress(at, scene::Kind::ALL.len(), "loading programs");
            bed::Bed::new(*kind, effort)
        })
        .collect::<Result<Vec<_>>>()?;
    let kinds: Vec<_> = beds.iter().map(|bed| bed.scene.kind).collect();
    let mut cases = cases::all(&kinds, effort)?;
    cases.retain(|case| case.reason.is_none() || case.name.contains(only));
    let samples = measure::all(&mut wrapper, &mut beds, &cases, effort, progress)?;
    let hash = scene::hash(beds.iter().map(|bed| bed.scene.config.as_str()));
    Ok(report::make(&cases, &samples, effort, hash))
}
