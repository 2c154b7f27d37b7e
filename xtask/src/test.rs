//! `cargo xtask test`: every check there is, in one command. A new one is a line in `STEPS`.

mod outcome;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

pub use self::outcome::{Outcome, Reader};
use crate::command::{cargo, shown, tee};
use crate::setup::{self, Purpose};
use crate::{kernel, tidy, vmtest};

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
    runs: When,
    /// Whether nothing after it makes sense if it fails.
    essential: bool,
    run: fn() -> Result<Outcome>,
}

/// In which runs a step takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Full,
    Quick,
}

const STEPS: &[Step] = &[
    essential("kernel", When::Full, || {
        kernel::require().map(|()| Outcome::pass())
    }),
    essential("setup", When::Full, || {
        setup::ensure(&[Purpose::Build, Purpose::Test, Purpose::Machines]).map(|()| Outcome::pass())
    }),
    essential("setup", When::Quick, || {
        setup::ensure(&[Purpose::Build]).map(|()| Outcome::pass())
    }),
    step("formatting", When::Always, || {
        check(&["fmt", "--all", "--check"])
    }),
    step("lints", When::Always, || {
        check(&[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    }),
    step("tidy", When::Always, tidy::outcome),
    step("unit tests", When::Quick, || tests(&["--lib", "--bins"])),
    step("tests", When::Full, || tests(&[])),
    step("vmtest", When::Full, vmtest::outcome),
];

const fn step(name: &'static str, runs: When, run: fn() -> Result<Outcome>) -> Step {
    Step {
        name,
        runs,
        essential: false,
        run,
    }
}

const fn essential(name: &'static str, runs: When, run: fn() -> Result<Outcome>) -> Step {
    Step {
        name,
        runs,
        essential: true,
        run,
    }
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let unwanted = if options.quick {
        When::Full
    } else {
        When::Quick
    };
    let mut total = Outcome::default();
    let mut times = Vec::new();
    for step in STEPS.iter().filter(|step| step.runs != unwanted) {
        println!("\n== {}", step.name);
        let (result, time) = timed(step.run);
        let outcome =
            result.unwrap_or_else(|error| Outcome::failure(format!("{}: {error:#}", step.name)));
        times.push((step.name, time, outcome.summary()));
        let stop = step.essential && !outcome.failures.is_empty();
        total.add(outcome);
        if stop {
            println!("nothing else was run");
            break;
        }
    }
    println!("\n== summary");
    for (name, time, summary) in times {
        println!("  {name:12} {:6.1} s  {summary}", time.as_secs_f64());
    }
    for failure in &total.failures {
        println!("  FAILED {failure}");
    }
    println!("{}", total.summary());
    Ok(total.exit_code())
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
    let mut reader = Reader::default();
    let mut command = cargo(["test", "--locked", "--workspace", "--no-fail-fast"]);
    let succeeded = tee(command.args(which), |line| reader.line(line))?;
    Ok(reader.finish(succeeded))
}

/// Runs something and measures how long it takes.
#[expect(
    clippy::disallowed_methods,
    reason = "the summary shows how long each step took"
)]
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}
