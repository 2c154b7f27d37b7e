//! `forwarder bench`.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::{print, runtime};
use crate::bench::{self, Effort, Report, What};

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
    /// How long starts, changes and reloads take the daemon for configurations of many sizes; memory of flows; health
    /// checks of 10,000 backends (as root)
    Scale(Options),
    /// All of these, as one report
    All(Options),
    /// Several reports of other runs, or of `cargo xtask bench`, as one: prints it, and measures nothing
    Report(Reports),
}

/// Arguments of each.
#[derive(Debug, clap::Args)]
struct Options {
    /// Fewer cases and rounds
    #[arg(long)]
    quick: bool,
    /// Only what has this in its name, such as full-nat/ipv4 or reload; and what it is compared with
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    only: String,
    #[command(flatten)]
    output: Output,
}

/// Where a report goes, and what it is compared with.
#[derive(Debug, clap::Args)]
struct Output {
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

impl Output {
    fn baseline(&self) -> Result<Option<Report>> {
        self.baseline.as_deref().map(read).transpose()
    }
}

/// Arguments of `bench report`.
#[derive(Debug, clap::Args)]
struct Reports {
    /// What `--json` has written
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn bench(arguments: &BenchArguments) -> Result<ExitCode> {
    match &arguments.bench {
        Bench::Prog(options)
        | Bench::Wire(options)
        | Bench::Scale(options)
        | Bench::All(options) => {
            let old = options.output.baseline()?;
            show(&measure(&arguments.bench, options)?, old, &options.output)
        }
        Bench::Report(reports) => {
            let old = reports.output.baseline()?;
            let all = reports.files.iter().map(|file| read(file));
            let all: Result<Vec<Report>> = all.collect();
            let one = all?.into_iter().reduce(Report::and);
            let one = one.context("no report")?.with_every_bar();
            show(&one, old, &reports.output)
        }
    }
}

fn measure(bench: &Bench, arguments: &Options) -> Result<Report> {
    thread::spawn(end_on_signal);
    let effort = if arguments.quick {
        Effort::Quick
    } else {
        Effort::Full
    };
    let only = &arguments.only;
    let wanted: &[What] = match bench {
        Bench::Prog(_) => &[What::Prog],
        Bench::Wire(_) => &[What::Wire],
        Bench::Scale(_) => &[What::Scale],
        _ => &What::ALL,
    };
    let binary = std::env::current_exe().context("this program's file")?;
    let measure = |what| match what {
        What::Prog => bench::prog(effort, only, &mut progress()),
        What::Wire => bench::wire(effort, only, &binary, &mut progress()),
        What::Scale => bench::scale(effort, only, &binary, &mut progress()),
    };
    let reports = What::with(wanted, effort, only)?.into_iter().map(measure);
    let reports: Result<Vec<Report>> = reports.collect();
    let one = reports?.into_iter().reduce(Report::and);
    let one = one.context("nothing to measure")?;
    Ok(match bench {
        Bench::All(_) => one.with_every_bar(),
        _ => one,
    })
}

/// Leaves nothing behind: namespaces, programs and daemons go with the process.
#[expect(
    clippy::disallowed_methods,
    reason = "what it holds is the kernel's to release; the threads that measure cannot be stopped"
)]
fn end_on_signal() {
    let wait = async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        anyhow::Ok(())
    };
    // Without it a signal ends the process as ever.
    if runtime().and_then(|runtime| runtime.block_on(wait)).is_ok() {
        bench::remove_files();
        std::process::exit(130);
    }
}

/// Prints and writes it; whether it is as good as the older one.
fn show(report: &Report, old: Option<Report>, arguments: &Output) -> Result<ExitCode> {
    let json = serde_json::to_string_pretty(report)? + "\n";
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
        Some(old) => compare(report, &old, arguments.threshold),
        None => ExitCode::SUCCESS,
    })
}

/// Says what has changed; fails if something has become costlier.
fn compare(report: &Report, old: &Report, threshold: f64) -> ExitCode {
    let changes = report.changes(old, threshold);
    for (what, now, before) in [
        ("kernel", &report.kernel, &old.kernel),
        ("CPU", &report.cpu, &old.cpu),
    ] {
        if now != before {
            eprintln!("the baseline is of another {what}: {before}; this is {now}");
        }
    }
    for change in &changes {
        let [before, now] = change.costs;
        eprintln!(
            "{}: {before:.1} → {now:.1} {} ({:+.0} %)",
            change.name, change.unit, change.percent
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
    Report::read(&text).with_context(|| name.to_string())
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
