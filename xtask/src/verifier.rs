//! `cargo xtask verifier`: how many instructions each kernel's verifier walks, held against a budget.
//!
//! A program close to the verifier's limit of a million instructions loads today, and is refused after the next
//! kernel update or a small change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::setup::{self, Purpose};
use crate::test::Outcome;
use crate::vmtest::{self, Effort, Which};
use crate::workspace;

/// No program may take as many.
const LIMIT: u32 = 250_000;
/// What a program may grow by before its budget is looked at again.
const GROWTH_PERCENT: u32 = 20;

/// Hold the verifier's effort on each kernel against the budget in xtask/verifier.toml
#[derive(Args)]
pub struct Options {
    /// Write what was measured as the new budget
    #[arg(long)]
    write: bool,
    /// Kernel to boot; may be given several times. All that are known by default
    #[arg(long = "kernel", value_name = "6.1|6.12")]
    kernels: Vec<String>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Purpose::Build, Purpose::Machines])?;
    let mut budget = Budget::read()?;
    let mut total = Outcome::default();
    for (kernel, outcome, effort) in
        vmtest::boot_all(&vmtest::lines(&options.kernels), Which::Load, false)?
    {
        if !outcome.failures.is_empty() {
            bail!("{}", outcome.failures.join("\n"));
        }
        if options.write {
            budget.set(&kernel.line, effort.clone());
        }
        print!("{}", budget.table(&kernel.line, &effort));
        total.add(budget.check(&kernel.line, &effort));
    }
    if options.write {
        fs::write(path(), budget.text())?;
    }
    for failure in &total.failures {
        println!("FAILED {failure}");
    }
    println!("{}", total.summary());
    Ok(total.exit_code())
}

fn path() -> PathBuf {
    workspace::root().join("xtask/verifier.toml")
}

/// Instructions by kernel line and program.
#[derive(Debug, Default, Deserialize)]
pub struct Budget(BTreeMap<String, Effort>);

impl Budget {
    /// The budget in the repository.
    pub fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        toml::from_str(&text).with_context(|| format!("{} can't be read", path.display()))
    }

    /// Makes what was measured the budget.
    fn set(&mut self, line: &str, effort: Effort) {
        self.0.insert(line.to_owned(), effort);
    }

    /// One check per kernel: every program is in the budget, and within it.
    pub fn check(&self, line: &str, effort: &Effort) -> Outcome {
        let known = self.0.get(line);
        let wrong = effort.iter().filter_map(|(program, walked)| {
            let stored = known.and_then(|known| known.get(program)).copied();
            let reason = wrong(*walked, stored)?;
            Some(format!("verifier: {program} {reason} (on {line})"))
        });
        let mut failures: Vec<_> = wrong.collect();
        let stale = known.into_iter().flat_map(BTreeMap::keys);
        failures.extend(
            stale
                .filter(|program| !effort.contains_key(*program))
                .map(|program| format!("verifier: {program} was not loaded (on {line})")),
        );
        Outcome {
            passed: usize::from(failures.is_empty()),
            failures,
        }
    }

    /// What was measured beside the budget, the largest first.
    fn table(&self, line: &str, effort: &Effort) -> String {
        let mut rows: Vec<_> = effort.iter().collect();
        rows.sort_by_key(|(_, walked)| std::cmp::Reverse(**walked));
        let mut text = String::new();
        for (program, walked) in rows {
            let stored = self.0.get(line).and_then(|known| known.get(program));
            let stored = stored.map_or("-".to_owned(), u32::to_string);
            let _ = writeln!(text, "  {program:20} {walked:>7}  budget {stored:>7}");
        }
        text
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# Instructions that the verifier walks, by kernel and program.\n\
             # `cargo xtask verifier --write` measures and writes them anew.\n",
        );
        for (line, effort) in &self.0 {
            let _ = writeln!(text, "\n[\"{line}\"]");
            for (program, walked) in effort {
                let _ = writeln!(text, "{program} = {walked}");
            }
        }
        text
    }
}

/// Why an effort is wrong.
fn wrong(walked: u32, stored: Option<u32>) -> Option<String> {
    if walked >= LIMIT {
        return Some(format!("takes {walked} instructions, {LIMIT} are too many"));
    }
    let Some(stored) = stored else {
        return Some("is not in xtask/verifier.toml: run `cargo xtask verifier --write`".into());
    };
    let allowed = stored as u64 * (100 + GROWTH_PERCENT) as u64 / 100;
    (walked as u64 > allowed).then(|| {
        format!("takes {walked} instructions, the budget is {stored} and {GROWTH_PERCENT} %")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(walked: u32) -> Effort {
        Effort::from([("nat4".to_owned(), walked)])
    }

    fn check(walked: u32) -> Vec<String> {
        let mut budget = Budget::default();
        budget.set("6.1", effort(1_000));
        budget.check("6.1", &effort(walked)).failures
    }

    #[test]
    fn a_program_may_grow_a_little() {
        assert!(check(500).is_empty());
        assert!(check(1_200).is_empty());
        assert_eq!(check(1_201).len(), 1);
    }

    #[test]
    fn no_program_may_take_very_many_whatever_the_budget_says() {
        let mut budget = Budget::default();
        budget.set("6.1", effort(LIMIT));
        assert_eq!(budget.check("6.1", &effort(LIMIT)).failures.len(), 1);
        let below = budget.check("6.1", &effort(LIMIT - 1));
        assert_eq!(below.summary(), "1 passed, 0 failed");
    }

    #[test]
    fn programs_and_budget_are_the_same_set() {
        let mut budget = Budget::default();
        assert_eq!(budget.check("6.1", &effort(1)).failures.len(), 1);
        budget.set("6.1", effort(1));
        assert_eq!(budget.check("6.1", &Effort::new()).failures.len(), 1);
        assert_eq!(budget.check("6.12", &effort(1)).failures.len(), 1);
    }

    #[test]
    fn the_written_budget_reads_the_same() {
        let mut budget = Budget::default();
        budget.set("6.1", effort(17));
        budget.set("6.12", effort(18));
        let read: Budget = toml::from_str(&budget.text()).expect("it is TOML");
        assert_eq!(read.0, budget.0);
    }
}
