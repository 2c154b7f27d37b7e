//! `cargo xtask bench change`: the running forwarder is changed, restarted, killed, upgraded and rolled back
//! under load; nothing may be lost, nothing may break, and the counters go on.
//!
//! The load goes through `l2-dsr` and `full-nat`, IPv4 and IPv6: numbered datagrams, so that loss is exact;
//! TCP connections that stay open; and new ones. The first row is the same load with nothing done.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod daemon;
mod objects;
mod report;
mod rounds;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use forwarder_lab::Traffic;
use forwarder_lab::pinned::servers;
use forwarder_lab::site::{ECHO, HTTP};

use self::daemon::Daemon;
use self::objects::Objects;
use self::report::{Report, Row};
use self::rounds::Change;
use super::output::Output;
use crate::command::{cargo, executable_and_object};

/// Change, restart, crash, upgrade and roll back under load, and count what is lost
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    output: Output,
    /// How often each is done
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u32,
    /// Do each twice only
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Do only these: reload, restart, crash, upgrade, rollback
    #[arg(long, value_name = "CHANGE")]
    only: Vec<String>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let rounds = if options.quick { 2 } else { options.rounds };
    let wanted = |change: &Change| {
        options.only.is_empty() || options.only.iter().any(|name| name == change.name())
    };
    let changes: Vec<_> = Change::ALL.into_iter().filter(wanted).collect();
    ensure!(!changes.is_empty() && rounds > 0, "nothing is to be done");
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let (binary, object) = executable_and_object(&mut build)?;

    let mut daemon = Daemon::start(&binary)?;
    let objects = Objects::make(&object, daemon.directory())?;
    report::header();
    let without_change = measure(&mut daemon, "none", rounds, Daemon::traffic_passes)?;
    let mut rows = Vec::new();
    for change in changes {
        let row = measure(&mut daemon, change.name(), rounds, |daemon, traffic| {
            change.round(daemon, &objects, traffic)
        })?;
        rows.push(row);
    }
    let report = Report {
        without_change,
        changes: rows,
    };
    report.summary();
    options.output.end(&report, report.ok())
}

/// Does something again and again under load.
fn measure(
    daemon: &mut Daemon,
    change: &'static str,
    rounds: u32,
    mut round: impl FnMut(&mut Daemon, &Traffic) -> Result<()>,
) -> Result<Row> {
    let begin = Instant::now();
    let mut counters = daemon.counters()?;
    let traffic = Traffic::start(daemon.client(), &servers(HTTP), &servers(ECHO))?;
    for number in 1..=rounds {
        round(daemon, &traffic)
            .and_then(|()| daemon.follow(&mut counters))
            .with_context(|| format!("{change}, round {number}"))
            .with_context(|| daemon.diagnosis())?;
    }
    let tally = traffic.end()?;
    daemon.follow(&mut counters)?;
    let row = Row::new(change, rounds, &tally, &counters, begin.elapsed());
    row.print();
    if !row.ok() {
        // What the daemon saw meanwhile: a backend that went, a reason for drops.
        eprintln!("{}", daemon.diagnosis());
    }
    Ok(row)
}
