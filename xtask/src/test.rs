//! `cargo xtask test`: every check there is, in one command.

mod outcome;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

pub use self::outcome::Outcome;
use crate::command::{cargo, shown, tee};
use crate::setup::{self, Purpose};
use crate::{kernel, tidy};

/// Run every check: formatting, lints, all tests, tidy (as root; installs what is missing)
#[derive(Args)]
pub struct Options {
    /// Only what needs neither root nor a kernel: formatting, lints, unit tests, tidy
    #[arg(long)]
    quick: bool,
}

/// One part of the test run.
struct Step {
    name: &'static str,
    /// Whether it is part of a quick run and of a full one.
    quick: bool,
    full: bool,
    run: fn() -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step {
        name: "formatting",
        quick: true,
        full: true,
        run: || check(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "lints",
        quick: true,
        full: true,
        run: || {
            check(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Step {
        name: "tidy",
        quick: true,
        full: true,
        run: tidy::outcome,
    },
    Step {
        name: "unit tests",
        quick: true,
        full: false,
        run: || tests(&["--lib", "--bins"]),
    },
    Step {
        name: "tests",
        quick: false,
        full: true,
        run: || tests(&[]),
    },
];

pub fn run(options: &Options) -> Result<()> {
    if options.quick {
        setup::ensure(&[Purpose::Build])?;
    } else {
        kernel::require()?;
        setup::ensure(&[Purpose::Build, Purpose::Test])?;
    }
    let mut total = Outcome::default();
    let mut times = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| if options.quick { step.quick } else { step.full })
    {
        println!("\n== {}", step.name);
        let (result, time) = timed(step.run);
        let outcome =
            result.unwrap_or_else(|error| Outcome::failure(format!("{}: {error:#}", step.name)));
        times.push((step.name, time, outcome.summary()));
        total.add(outcome);
    }
    println!("\n== summary");
    for (name, time, summary) in times {
        println!("  {name:12} {:6.1} s  {summary}", time.as_secs_f64());
    }
    for failure in &total.failures {
        println!("  FAILED {failure}");
    }
    println!("{}", total.summary());
    if !total.failures.is_empty() {
        bail!("not everything passed");
    }
    Ok(())
}

/// A cargo command that passes or fails as a whole.
fn check(args: &[&str]) -> Result<Outcome> {
    let mut command = cargo(args);
    let name = shown(&command);
    Ok(if command.status()?.success() {
        Outcome::pass()
    } else {
        Outcome::failure(name)
    })
}

/// The workspace's tests, counted one by one.
fn tests(which: &[&str]) -> Result<Outcome> {
    let mut reader = outcome::Reader::default();
    let mut command = cargo(["test", "--locked", "--workspace", "--no-fail-fast"]);
    let succeeded = tee(command.args(which), |line| reader.line(line))?;
    Ok(reader.finish(succeeded))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the summary shows how long each step took"
)]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}
