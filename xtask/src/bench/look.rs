//! `cargo xtask bench look`: what looking at a million flows does to packets.
//!
//! Somebody looks again and again while a client asks through `full-nat`, one datagram after the other, most of
//! them on an old flow, some on new ones. Rounds with and without take turns. A look takes a CPU for itself, on
//! few CPUs that alone costs; so there are rounds with a process that merely computes, too. What the programs
//! themselves take is counted by the kernel.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod asker;
mod looker;
mod statistics;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use forwarder_lab::pinned::{NAT, config};
use forwarder_lab::site::{BACKENDS, ECHO};
use forwarder_lab::{Family, Pinned, Usage, wait_until};
use serde::Serialize;

use self::asker::{Asked, Asker};
use self::looker::{LOOKS, Look};
use self::statistics::Statistics;
use super::output::Output;
use super::statistic::{milliseconds, percentile};
use crate::command::{cargo, executable};

/// What counting, listing and scraping a million flows does to the packets meanwhile
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    output: Output,
    /// Established flows that are there
    #[arg(long, value_name = "N", default_value_t = 950_000)]
    flows: u32,
    /// How often each is measured; the table has medians
    #[arg(long, value_name = "N", default_value_t = 8)]
    rounds: usize,
}

/// A round takes so long.
const ROUND: Duration = Duration::from_millis(1_500);

#[derive(Serialize)]
struct Report {
    flows: u32,
    looks: Vec<Row>,
}

/// Medians of the rounds.
#[derive(Serialize)]
struct Row {
    look: &'static str,
    /// What one takes.
    look_ms: Option<f64>,
    datagrams_per_second: f64,
    round_trip_us: f64,
    round_trip_99th_us: f64,
    new_flow_us: f64,
    /// Of the programs, for each packet.
    program_ns: f64,
    lost: u64,
}

/// What a round has shown.
struct Round {
    asked: Asked,
    program_ns: f64,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(options.rounds > 0, "nothing is to be done");
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let words = [
        "build",
        "--locked",
        "--release",
        "--package",
        "forwarder",
        "--example",
        "fill_flows",
    ];
    let fill = executable(&mut cargo(words), "fill_flows")?;
    let mut site = Pinned::new(&binary)?;
    site.run(&config("", BACKENDS.len() as u8), |_| ())?;
    site.wait_until_ready(BACKENDS.len())?;
    fill_flows(&site, &fill, options.flows)?;

    let server = (Family::V4.vip(NAT), ECHO).into();
    let mut all: Vec<(Vec<Round>, Vec<Duration>)> =
        LOOKS.iter().map(|_| Default::default()).collect();
    let statistics = Statistics::on()?;
    for _ in 0..options.rounds {
        for (look, (rounds, times)) in LOOKS.iter().zip(&mut all) {
            let before = Usage::of(site.running()?.id())?;
            let looker = look.start(site.running()?.socket(), &binary)?;
            let asked = Asker::start(&site.site.client, server, ROUND)?.end()?;
            let after = Usage::of(site.running()?.id())?;
            times.extend(looker.end()?);
            let runs = after.runs.saturating_sub(before.runs);
            ensure!(runs > 0, "the kernel has counted no run of a program");
            rounds.push(Round {
                asked,
                program_ns: after.run_time.saturating_sub(before.run_time) as f64 / runs as f64,
            });
        }
    }
    drop(statistics);
    let rows = LOOKS.iter().zip(all);
    let report = Report {
        flows: options.flows,
        looks: rows
            .map(|(look, (rounds, times))| row(look, &rounds, times))
            .collect(),
    };
    print(&report);
    let lost = report.looks.iter().any(|row| row.lost > 0);
    options.output.end(&report, !lost)
}

fn fill_flows(site: &Pinned, fill: &PathBuf, flows: u32) -> Result<()> {
    let find = || {
        let versions = std::fs::read_dir(site.pins()).ok()?.flatten();
        let generations = versions.filter_map(|version| std::fs::read_dir(version.path()).ok());
        let mut paths = generations.flatten().flatten().map(|entry| entry.path());
        paths.find(|path| path.join("FLOWS4").exists())
    };
    let generation = site.bpf.run(find).context("no pins")?;
    let mut command = Command::new(fill);
    command.arg(generation).arg(flows.to_string());
    site.bpf.enter(&mut command);
    let begin = Instant::now();
    ensure!(
        command.status()?.success(),
        "the flows could not be written"
    );
    println!("{flows} flows in {:.1} s", begin.elapsed().as_secs_f64());
    wait_until("the flows are counted", Duration::from_secs(60), || {
        let output = site
            .running()
            .and_then(|running| running.run(&["flow", "--count", "-o", "json"]));
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let value = text
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        value.and_then(|value| value["count"].as_u64()) >= Some(flows.into())
    })
}

fn row(look: &Look, rounds: &[Round], times: Vec<Duration>) -> Row {
    let median = |mut values: Vec<f64>| percentile(&mut values, 50);
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let times = milliseconds(&times);
    Row {
        look: look.name,
        look_ms: (!times.is_empty()).then(|| median(times)),
        datagrams_per_second: of(|round| round.asked.per_second),
        round_trip_us: of(|round| round.asked.median_us),
        round_trip_99th_us: of(|round| round.asked.high_us),
        new_flow_us: of(|round| round.asked.new_us),
        program_ns: of(|round| round.program_ns),
        lost: rounds.iter().map(|round| round.asked.lost).sum(),
    }
}

fn print(report: &Report) {
    println!(
        "{:36} {:>8} {:>12} {:>8} {:>8} {:>8} {:>9} {:>5}",
        "", "ms each", "datagrams/s", "µs", "99 % µs", "new µs", "ns/packet", "lost"
    );
    for row in &report.looks {
        let each = row.look_ms.map_or(String::new(), |ms| format!("{ms:.0}"));
        println!(
            "{:36} {each:>8} {:>12.0} {:>8.1} {:>8.1} {:>8.1} {:>9.1} {:>5}",
            row.look,
            row.datagrams_per_second,
            row.round_trip_us,
            row.round_trip_99th_us,
            row.new_flow_us,
            row.program_ns,
            row.lost
        );
    }
}
