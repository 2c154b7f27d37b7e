//! `cargo xtask bench churn`: ten changes a second, under load; what the daemon holds must stay what it was.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use forwarder_lab::pinned::{config, servers};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Pinned, Traffic, Usage};
use serde::Serialize;

use super::output::Output;
use crate::command::{cargo, executable};

/// Ten changes a second under load: what is lost, and whether descriptors, maps, programs and memory stay flat
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    output: Output,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    seconds: u64,
}

/// Between two changes.
const EVERY: Duration = Duration::from_millis(100);
/// So often in between it is looked what the daemon holds.
const LOOKS: u32 = 10;
/// Descriptors of health checks and commands come and go.
const COME_AND_GO: u64 = 24;
/// Tables, the history and caches fill up to their bounds in the first tenth of the time; afterwards memory is
/// flat if it grows by less than this.
const GROWTH: u64 = 4 << 20;

#[derive(Serialize)]
struct Report {
    seconds: f64,
    changes: u64,
    datagrams: u64,
    lost: u64,
    connections: u64,
    broken_connections: u64,
    /// What the daemon held, from the first look to the last.
    looks: Vec<Look>,
    flat: bool,
}

#[derive(Clone, Serialize)]
struct Look {
    seconds: f64,
    changes: u64,
    descriptors: u64,
    maps: u64,
    programs: u64,
    resident_bytes: u64,
    map_bytes: u64,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let mut build = cargo(["build", "--locked", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let report = churn(&binary, Duration::from_secs(options.seconds))?;
    println!(
        "{} changes in {:.0} s; {} datagrams, {} lost; {} connections, {} broken; {}",
        report.changes,
        report.seconds,
        report.datagrams,
        report.lost,
        report.connections,
        report.broken_connections,
        if report.flat { "flat" } else { "NOT FLAT" }
    );
    let ok = report.flat && report.lost == 0 && report.broken_connections == 0;
    options.output.end(&report, ok)
}

fn churn(binary: &Path, duration: Duration) -> Result<Report> {
    let mut site = Pinned::new(binary)?;
    site.run(&config("", 2), |_| ())?;
    site.wait_until_ready(2)?;
    let traffic = Traffic::start(&site.site.client, &servers(HTTP), &servers(ECHO))?;
    let begin = Instant::now();
    let (mut changes, mut looks) = (0, Vec::new());
    println!(
        "{:>8} {:>8} {:>11} {:>5} {:>8} {:>9} {:>9}",
        "s", "changes", "descriptors", "maps", "programs", "RSS KiB", "maps KiB"
    );
    while begin.elapsed() < duration {
        let due = begin + EVERY * u32::try_from(changes)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        change(&site, changes)?;
        changes += 1;
        if begin.elapsed() >= duration / LOOKS * (u32::try_from(looks.len())? + 1) {
            looks.push(look(&site, begin, changes)?);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let tally = traffic.end()?;
    Ok(Report {
        seconds,
        changes,
        datagrams: tally.datagrams.values().sum(),
        lost: tally.lost,
        connections: tally.connections,
        broken_connections: tally.broken,
        flat: is_flat(&looks),
        looks,
    })
}

/// Of four changes in turn: a virtual server and its pool come, a weight changes, both go back.
fn change(site: &Pinned, number: u64) -> Result<()> {
    let forwarder = site.running()?;
    let weight = ["3", "1"][usize::from(number % 4 == 3)];
    let pool = Family::ALL[number as usize / 4 % 2].to_string();
    let output = match number % 4 {
        1 | 3 => forwarder.run(&["pool", "weight", &pool, "b1", weight])?,
        even => {
            let more = if even == 0 { another() } else { String::new() };
            let new = site.site.directory().join("new.toml");
            std::fs::write(&new, config("", 2) + &more)?;
            std::fs::rename(new, forwarder.config())?;
            forwarder.run(&["reload"])?
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "change {number}: {said}");
    Ok(())
}

fn another() -> String {
    let (vip, backend) = (Family::V4.vip(20), Family::V4.backend(2));
    format!(
        "[[pool]]\nname = \"another\"\nhealth_check = \"health\"\nbackend = [{{ address = \"{backend}\" }}]\n\
         [[virtual_server]]\nname = \"another\"\naddress = \"{vip}\"\nport = 80\nmode = \"dnat\"\npool = \"another\"\n"
    )
}

fn look(site: &Pinned, begin: Instant, changes: u64) -> Result<Look> {
    let usage = Usage::of(site.running()?.id())?;
    let look = Look {
        seconds: begin.elapsed().as_secs_f64(),
        changes,
        descriptors: usage.descriptors,
        maps: usage.maps,
        programs: usage.programs,
        resident_bytes: usage.resident,
        map_bytes: usage.map_memory,
    };
    println!(
        "{:>8.0} {:>8} {:>11} {:>5} {:>8} {:>9} {:>9}",
        look.seconds,
        look.changes,
        look.descriptors,
        look.maps,
        look.programs,
        look.resident_bytes / 1024,
        look.map_bytes / 1024
    );
    Ok(look)
}

/// Memory of maps is not looked at: flows of the load come, and stay for minutes after their end.
fn is_flat(looks: &[Look]) -> bool {
    let Some(first) = looks.first() else {
        return false;
    };
    looks.iter().all(|look| {
        look.maps == first.maps
            && look.programs == first.programs
            && look.descriptors <= first.descriptors + COME_AND_GO
            && look.resident_bytes <= first.resident_bytes + GROWTH
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_not_flat() {
        let look = Look {
            seconds: 1.0,
            changes: 10,
            descriptors: 100,
            maps: 40,
            programs: 20,
            resident_bytes: 50 << 20,
            map_bytes: 100 << 20,
        };
        assert!(is_flat(&[look.clone(), look.clone()]));
        assert!(!is_flat(&[]));
        let mut more = look.clone();
        more.descriptors += COME_AND_GO + 1;
        assert!(!is_flat(&[look.clone(), more]));
        let mut more = look.clone();
        more.maps += 1;
        assert!(!is_flat(&[look, more]));
    }
}
