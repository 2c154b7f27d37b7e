//! `cargo xtask mutants`: bugs are seeded in the packet path, one at a time; the packet tests must catch each.
//!
//! The tests run against a lean object (see [`patch::LEAN`]), which is built without the bug first and must pass.

mod linker;
mod patch;
mod table;
mod verdict;
mod workshop;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::table::{Mutant, mutants};
use self::verdict::{Judge, Verdict};
use self::workshop::{Object, Workshop};
use crate::ebpf::Builder;
use crate::setup::{self, Purpose};
use crate::test::{Outcome, timed};
use crate::{kernel, workspace};

/// Seed bugs in the packet path, one at a time, and check that the packet tests catch each (as root)
#[derive(Args)]
pub struct Options {
    /// Only the mutants whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only say which mutants there are
    #[arg(long)]
    list: bool,
    /// Only the cases written by hand may catch them: no model, no random packets
    #[arg(long)]
    by_hand: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let chosen: Vec<_> = mutants()
        .filter(|mutant| {
            let name = options.only.as_deref().unwrap_or_default();
            mutant.name.contains(name)
        })
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no mutant has such a name; --list shows them"
    );
    if options.list {
        for mutant in chosen {
            println!("{:36} {}: {}", mutant.name, mutant.file, mutant.breaks);
        }
        return Ok(ExitCode::SUCCESS);
    }
    kernel::require()?;
    setup::ensure(&[Purpose::Build, Purpose::Test])?;
    let outcome = hunt(&chosen, options.by_hand)?;
    for failure in &outcome.failures {
        println!("  FAILED {failure}");
    }
    println!("{}", outcome.summary());
    Ok(outcome.exit_code())
}

fn hunt(mutants: &[&Mutant], by_hand: bool) -> Result<Outcome> {
    let directory = workspace::root().join("target/mutants");
    let judge = Judge::new(&directory, by_hand)?;
    let mut builder = Builder::find(env!("CARGO_PKG_RUST_VERSION"))?;
    builder.linker = linker::lean(&directory, &builder.linker)?;
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(mutants.len());
    let mut workshops = Vec::new();
    for number in 0..workers {
        workshops.push(Workshop::new(
            &directory.join(number.to_string()),
            &builder,
        )?);
    }
    let first = workshops.first().context("there is a mutant")?;
    without_bug(first, &judge)?;

    let queue = Mutex::new(mutants.iter());
    let next = || queue.lock().ok()?.next();
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let work = |workshop| {
            let mut outcome = Outcome::default();
            while let Some(mutant) = next() {
                outcome.add(examine(workshop, mutant, &judge)?);
            }
            Ok(outcome)
        };
        let threads: Vec<_> = workshops
            .iter()
            .map(|workshop| scope.spawn(move || work(workshop)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| bail!("a worker panicked"))
        };
        threads.into_iter().map(join).collect()
    });
    let mut total = Outcome::default();
    for outcome in outcomes {
        total.add(outcome?);
    }
    Ok(total)
}

/// What catches bugs must accept the program that has none.
fn without_bug(workshop: &Workshop<'_>, judge: &Judge) -> Result<()> {
    let (result, time) = timed(|| match workshop.build(None)? {
        Object::Built(object) => judge.judge(&object),
        Object::Broken(messages) => bail!("without a bug, the object does not build:\n{messages}"),
    });
    match result? {
        Verdict::Survived => {}
        Verdict::Killed { test, panic } => bail!("without a bug, {test} failed:\n{panic}"),
        other => bail!("without a bug: {other}"),
    }
    println!("{:9} without a bug, {:.1} s", "passes", time.as_secs_f64());
    Ok(())
}

fn examine(workshop: &Workshop<'_>, mutant: &Mutant, judge: &Judge) -> Result<Outcome> {
    let (result, time) = timed(|| match workshop.build(Some(mutant))? {
        Object::Built(object) => judge.judge(&object),
        Object::Broken(messages) => Ok(Verdict::DoesNotBuild(messages)),
    });
    let verdict = result.with_context(|| format!("mutant {}", mutant.name))?;
    println!(
        "{:9} {} ({}, {:.1} s)",
        verdict.word(),
        mutant.name,
        verdict,
        time.as_secs_f64()
    );
    Ok(match verdict {
        Verdict::Killed { .. } => Outcome::pass(),
        _ => Outcome::failure(format!("{} ({}): {verdict}", mutant.name, mutant.breaks)),
    })
}
