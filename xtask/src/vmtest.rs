//! `cargo xtask vmtest`: the programs load and the packet tests pass on the kernels that appliances run.

pub mod build;
mod cpio;
pub mod image;
pub mod kernels;
pub mod machine;
mod modules;
mod report;

use std::fs::{self, File};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

pub use self::build::Which;
use self::build::{Built, build};
use self::kernels::Kernel;
pub use self::machine::QEMU;
pub use self::report::Effort;
use self::report::{Boot, Console};
use crate::setup::{self, Purpose};
use crate::test::Outcome;
use crate::verifier::Budget;
use crate::workspace;

/// For the tests of one boot: all of them take minutes even on an idle machine, and it may be busy.
const LIMIT: Duration = Duration::from_secs(2_400);
/// Boots of a machine that does not come up.
const BOOTS: u32 = 3;

/// Load the programs and run the packet tests on other kernels, in QEMU (as root for the first time)
#[derive(Args)]
pub struct Options {
    /// Kernel to boot; may be given several times. All that are known by default
    #[arg(long = "kernel", value_name = "6.1|6.12")]
    kernels: Vec<String>,
    /// Run every packet test, not only those that kernels may make a difference to
    #[arg(long)]
    all: bool,
    /// Keep what each machine said in target/vm/KERNEL.log even if all is well
    #[arg(long)]
    keep_logs: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Purpose::Build, Purpose::Machines])?;
    let which = if options.all {
        Which::All
    } else {
        Which::Usual
    };
    let outcome = test(&lines(&options.kernels), which, options.keep_logs)?;
    for failure in &outcome.failures {
        println!("FAILED {failure}");
    }
    println!("{}", outcome.summary());
    Ok(outcome.exit_code())
}

/// The step of `cargo xtask test`.
pub fn outcome() -> Result<Outcome> {
    test(&kernels::lines(), Which::Usual, false)
}

/// The kernel lines that were asked for, or all.
pub fn lines(asked: &[String]) -> Vec<String> {
    if asked.is_empty() {
        kernels::lines()
    } else {
        asked.to_vec()
    }
}

/// Runs every test on the kernels, and holds the verifier's effort against the budget.
fn test(lines: &[String], which: Which, keep_logs: bool) -> Result<Outcome> {
    let budget = Budget::read()?;
    let mut total = Outcome::default();
    for (kernel, outcome, effort) in boot_all(lines, which, keep_logs)? {
        total.add(outcome);
        total.add(budget.check(&kernel.line, &effort));
    }
    Ok(total)
}

/// Boots each kernel: what passed and failed on it, and the verifier's effort.
pub fn boot_all(
    lines: &[String],
    which: Which,
    keep_logs: bool,
) -> Result<Vec<(Kernel, Outcome, Effort)>> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the test machines are x86-64, and run tests built here: this works on x86-64 only"
    );
    let kernels: Vec<_> = lines
        .iter()
        .map(|line| kernels::get(line))
        .collect::<Result<_>>()?;
    let built = build(which)?;
    let mut results = Vec::new();
    for kernel in kernels {
        let (mut outcome, effort) = boot(&kernel, &built, keep_logs)?;
        for failure in &mut outcome.failures {
            *failure = format!("{failure} (on {})", kernel.line);
        }
        println!("{}: {}", kernel.line, outcome.summary());
        results.push((kernel, outcome, effort));
    }
    Ok(results)
}

/// Boots one kernel. Tests that fail are not tried again; a machine that does not come up is.
fn boot(kernel: &Kernel, built: &Built, keep_log: bool) -> Result<(Outcome, Effort)> {
    let directory = workspace::root().join("target/vm");
    let root = directory.join(format!("{}.cpio", kernel.line));
    let path = directory.join(format!("{}.log", kernel.line));
    image::write(kernel, &built.content()?, &root)?;
    for attempt in 1..=BOOTS {
        println!("\n{}: booting {}", kernel.line, kernel.release);
        let mut log = File::create(&path)?;
        let mut console = Console::default();
        let mut shown = Ok(());
        let ended = machine::run(&kernel.image, &root, LIMIT, |line| {
            println!("  {line}");
            let written = writeln!(log, "{line}");
            if shown.is_ok() {
                shown = written;
            }
            console.line(line);
        })?;
        shown.with_context(|| format!("{} can't be written", path.display()))?;
        match console.finish(ended) {
            Boot::Ran { outcome, effort } => {
                if !keep_log && outcome.failures.is_empty() {
                    fs::remove_file(&path)?;
                }
                fs::remove_file(&root)?;
                return Ok((outcome, effort));
            }
            Boot::NotUp => println!(
                "{}: the machine did not come up ({attempt} of {BOOTS} attempts)",
                kernel.line
            ),
        }
    }
    let failure = format!("the machine did not come up, see {}", path.display());
    Ok((Outcome::failure(failure), Effort::new()))
}
