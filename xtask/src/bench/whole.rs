//! `cargo xtask bench` alone: everything there is, one after another, and one report of it.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod bar;
mod part;
mod sheet;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use self::bar::Bar;
use self::part::{PARTS, Part};
use super::output::code;
use crate::command::{cargo, executable, program, shown};
use crate::workspace;

/// Options where no kind is named.
#[derive(Args)]
pub struct Whole {
    /// Three minutes instead of twenty: fewer kinds, cases and rounds
    #[arg(long)]
    quick: bool,
    /// The report goes into this directory, as JSON, Markdown and HTML, with what each kind has printed
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Compare with the JSON of an older run; exit code 1 if something has become costlier
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// What it may cost more than in the baseline, percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "baseline"
    )]
    threshold: f64,
}

pub fn run(options: &Whole) -> Result<ExitCode> {
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| workspace::root().join("target/bench"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    forwarder_lab::note_signals()?;
    let binary = build()?;
    let parts: Vec<(&Part, &[&str], u64)> = PARTS
        .iter()
        .filter_map(|part| part.wanted(options.quick))
        .collect();
    let mut bar = Bar::new(parts.iter().map(|(part, _, seconds)| (part.name, *seconds)));
    let begin = Instant::now();
    let mut report = Value::Null;
    let mut failed = Vec::new();
    for (part, words, _) in &parts {
        let json = out.join(format!("{}.json", part.name));
        let _ = fs::remove_file(&json);
        let log = out.join(format!("{}.log", part.name));
        let succeeded = bar.run(part.command(&binary, words, &json)?, &log)?;
        if forwarder_lab::is_interrupted() {
            eprintln!("interrupted: what is done so far is in {}", out.display());
            return Ok(ExitCode::from(130));
        }
        match fs::read(&json) {
            Ok(text) => sheet::add(&mut report, part.name, serde_json::from_slice(&text)?),
            Err(_) => sheet::missing(&mut report, part.name),
        }
        if !succeeded {
            failed.push(part.name);
        }
    }
    bar.end();
    println!("measured in {:.0} s", begin.elapsed().as_secs_f64());
    let json = out.join("report.json");
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")?;
    let as_good = show(options, &binary, &json)?;
    println!("report: {}", json.with_extension("html").display());
    if !failed.is_empty() {
        // A bar that is missed is a failure of the benchmarks of changes and faults, with the reason in their output.
        let logs = failed.iter().map(|name| format!("{name}.log"));
        let logs: Vec<String> = logs.collect();
        eprintln!("failed: see {} in {}", logs.join(", "), out.display());
    }
    Ok(code(failed.is_empty() && as_good))
}

/// Everything that is run, so that nothing is built while something is measured.
fn build() -> Result<PathBuf> {
    let words = ["build", "--locked", "--release", "--package", "forwarder"];
    let example = ["--example", "fill_flows"];
    executable(&mut cargo(words.iter().chain(&example)), "fill_flows")?;
    executable(&mut cargo(words), "forwarder")
}

/// The report as tables and as a page; whether it is as good as an older one.
fn show(options: &Whole, binary: &Path, json: &Path) -> Result<bool> {
    let mut words: Vec<OsString> = ["bench", "report"].map(OsString::from).into();
    // Written once more, with a bar also for what could not be measured.
    words.extend([json.into(), "--json".into(), json.into()]);
    words.extend(["--markdown".into(), json.with_extension("md").into()]);
    words.extend(["--html".into(), json.with_extension("html").into()]);
    if let Some(baseline) = &options.baseline {
        words.extend(["--baseline".into(), baseline.into()]);
        words.extend(["--threshold".into(), options.threshold.to_string().into()]);
    }
    let mut command = program(&binary.to_string_lossy(), &words);
    println!("$ {}", shown(&command));
    Ok(command.status()?.success())
}
