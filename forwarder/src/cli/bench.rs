//! `forwarder bench`.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::print;
use crate::bench::{self, Effort, Report};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// CPU time per packet of the XDP programs, by mode, packet and number of flows (as root; sends nothing)
    Prog(Options),
    /// CPU time per packet and per TCP connection through network namespaces of its own: the forwarder, the kernel's
    /// routing and NAT, HAProxy (as root)
    Wire(Options),
    /// Both, as one report
    All(Options),
}

/// Arguments of each.
#[derive(Debug, clap::Args)]
struct Options {
    /// Fewer cases and rounds
    #[arg(long)]
    quick: bool,
    /// Only cases whose names contain this, such as full-nat/ipv4; and the baselines
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    only: String,
    /// Write everything that was measured here; `-`: standard output, instead of the tables
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables here
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a page with plots here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with the JSON of an older run; exit code 1 if a case has become costlier
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// What a case may cost more than in the baseline, percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "baseline"
    )]
    threshold: f64,
}

pub fn bench(arguments: &BenchArguments) -> Result<ExitCode> {
    let (Bench::Prog(options) | Bench::Wire(options) | Bench::All(options)) = &arguments.bench;
    run(&arguments.bench, options)
}

fn run(bench: &Bench, arguments: &Options) -> Result<ExitCode> {
    let old = arguments.baseline.as_deref().map(read).transpose()?;
    let effort = if arguments.quick {
        Effort::Quick
    } else {
        Effort::Full
    };
    let only = &arguments.only;
    let prog = || bench::prog(effort, only, &mut progress());
    let wire = || {
        let binary = std::env::current_exe().context("this program's file")?;
        bench::wire(effort, only, &binary, &mut progress())
    };
    let report = match bench {
        Bench::Prog(_) => prog()?,
        Bench::Wire(_) => wire()?,
        Bench::All(_) => prog()?.and(wire()?),
    };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    match arguments.json.as_deref() {
        Some(file) if file == Path::new("-") => print(json.trim_end())?,
        json_file => {
            if let Some(file) = json_file {
                write(file, &json)?;
            }
            print(report.markdown().trim_end())?;
        }
    }
    if let Some(file) = &arguments.markdown {
        write(file, &report.markdown())?;
    }
    if let Some(file) = &arguments.html {
        write(file, &report.html())?;
    }
    Ok(match old {
        Some(old) => compare(&report, &old, arguments.threshold),
        None => ExitCode::SUCCESS,
    })
}

/// Says what has changed; fails if something has become costlier.
fn compare(report: &Report, old: &Report, threshold: f64) -> ExitCode {
    let changes = report.changes(old, threshold);
    for change in &changes {
        let [before, now] = change.costs;
        eprintln!(
            "{}: {before:.1} → {now:.1} ns ({:+.0} %)",
            change.name, change.percent
        );
    }
    if changes.iter().any(|change| change.percent > 0.0) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn read(file: &Path) -> Result<Report> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("{name} can't be read"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is no report of this program"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}

/// A line that says how far it is, where there is somebody to read it.
fn progress() -> impl FnMut(usize, usize, &str) {
    const WIDTH: usize = 30;
    let shown = std::io::stderr().is_terminal();
    move |done, all, what| {
        if shown {
            let full = WIDTH * (done + 1) / all.max(1);
            let (bar, rest) = ("█".repeat(full), "·".repeat(WIDTH.saturating_sub(full)));
            let end = if done + 1 == all { "\r\x1b[K" } else { "" };
            let mut error = std::io::stderr().lock();
            let _ = write!(error, "\r\x1b[K{bar}{rest} {what}{end}");
            let _ = error.flush();
        }
    }
}
