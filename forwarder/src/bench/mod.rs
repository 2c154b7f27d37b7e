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

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Result, ensure};

pub use bars::Bar;
pub use report::{Measured, NoReport, Report, Row, Table};
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

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// [`prog`].
    Prog,
    /// [`wire()`].
    Wire,
    /// [`scale()`].
    Scale,
}

impl What {
    /// Everything.
    pub const ALL: [Self; 3] = [Self::Prog, Self::Wire, Self::Scale];

    fn names(self, effort: Effort) -> Result<Vec<String>> {
        Ok(match self {
            Self::Prog => {
                let cases = cases::all(&kinds(effort), effort)?;
                cases.into_iter().map(|case| case.name).collect()
            }
            Self::Wire => wire::names(effort),
            Self::Scale => scale::NAMES.map(str::to_owned).into(),
        })
    }

    /// Those of `whats` that have something whose name contains `only`.
    ///
    /// # Errors
    /// None has.
    pub fn with(whats: &[Self], effort: Effort, only: &str) -> Result<Vec<Self>> {
        let (mut found, mut all) = (Vec::new(), BTreeSet::new());
        for what in whats {
            let names = what.names(effort)?;
            if names.iter().any(|name| name.contains(only)) {
                found.push(*what);
            }
            let kinds = names.iter().filter_map(|name| name.split('/').next());
            all.extend(kinds.map(str::to_owned));
        }
        let all: Vec<String> = all.into_iter().collect();
        ensure!(
            !found.is_empty(),
            "nothing that is measured{} has a name with {only:?} in it. There is (followed by family, packet and flows, such as /ipv4/tcp/64B/1k): {}",
            if effort == Effort::Full {
                ""
            } else {
                " with --quick"
            },
            all.join(", ")
        );
        Ok(found)
    }
}

fn kinds(effort: Effort) -> Vec<scene::Kind> {
    let all = scene::Kind::ALL.into_iter();
    all.filter(|kind| effort == Effort::Full || !kind.is_for_full_only())
        .collect()
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
    let kinds = kinds(effort);
    let mut load = |(at, kind): (usize, &scene::Kind)| {
        progress(at, kinds.len(), "loading programs");
        bed::Bed::new(*kind, effort)
    };
    let beds = kinds.iter().enumerate().map(&mut load);
    let mut beds = beds.collect::<Result<Vec<_>>>()?;
    let mut cases = cases::all(&kinds, effort)?;
    cases.retain(|case| case.reason.is_none() || case.name.contains(only));
    let samples = measure::all(&mut wrapper, &mut beds, &cases, effort, progress)?;
    let hash = scene::hash(beds.iter().map(|bed| bed.scene.config.as_str()));
    Ok(report::make(&cases, &samples, effort, hash))
}
