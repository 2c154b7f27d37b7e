//! `cargo xtask bench failover`: the active node of a pair dies, hangs, loses its links, is cut off, hands over
//! and is upgraded, while 1 kHz of numbered datagrams and hundreds of connections go through it; how long nobody
//! answers, what is lost, what breaks, and whether ever two nodes answer for a VIP. And what it takes to tell the standby
//! of flows.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod calm;
mod cloud;
mod fault;
mod keepalived;
mod pair;
mod report;
mod round;
mod sync;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use self::calm::Trouble;
use self::fault::Fault;
use self::keepalived::Keepalived;
use self::pair::Pair as _;
use self::report::{Report, Row};
use self::round::{MODES, World};
use super::output::Output;
use crate::command::{cargo, executable};

/// Break the active node of a pair in every way, and see what clients notice
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    output: Output,
    /// How often each is done
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// Three minutes: each three times at 50 ms x 3; at 10 ms x 3 only what has to be detected; the machine is
    /// busy, and paths are disturbed, for 5 s
    #[arg(long, conflicts_with_all = ["rounds", "windows", "calm"])]
    quick: bool,
    /// Do only these, and nothing that is no fault
    #[arg(long, value_name = "NAME")]
    fault: Vec<Fault>,
    /// Measure only what telling the standby of flows takes
    #[arg(long, conflicts_with = "fault")]
    sync: bool,
    /// Measure only what a takeover takes where calls of a (simulated) cloud's API move the addresses
    #[arg(long, conflicts_with_all = ["fault", "sync", "quick"])]
    cloud: bool,
    /// For so long each disturbance lasts that is no reason to fail over; 0: none
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    calm: u64,
    /// So often the machine is busy for so long; a path is disturbed once
    #[arg(long, value_name = "N", default_value_t = 10)]
    windows: u32,
    /// Do it at this interval of the two only
    #[arg(long, value_name = "MILLISECONDS")]
    interval: Option<u64>,
    /// The paths between the nodes are interfaces of the forwarder: its XDP programs answer echoes, not the
    /// daemons
    #[arg(long)]
    reflect: bool,
    /// Do the same faults to two nodes with this too, on the same network; nothing that is no fault
    #[arg(long, value_name = "WHAT")]
    against: Option<Rival>,
    /// Measure this executable, and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What users would run instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Rival {
    /// keepalived (VRRPv3) and the kernel's NAT, without and with conntrackd; installed where it is missing
    Keepalived,
}

/// How the nodes watch each other.
#[derive(Clone, Copy)]
pub struct Timing {
    interval: Duration,
    multiplier: u32,
    /// Whether the data planes answer echoes.
    reflects: bool,
}

impl Timing {
    const ALL: [Self; 2] = [Self::new(50), Self::new(10)];

    const fn new(milliseconds: u64) -> Self {
        Self {
            interval: Duration::from_millis(milliseconds),
            multiplier: 3,
            reflects: false,
        }
    }

    /// How long a silent peer is not noticed, about.
    fn detection(self) -> Duration {
        self.interval * self.multiplier
    }

    /// How long a node goes on whose daemon does not.
    fn lease(self) -> Duration {
        match self.reflects {
            true => Duration::from_millis(500),
            false => self.detection() - self.interval,
        }
    }

    fn name(self) -> String {
        let by = if self.reflects { " reflected" } else { "" };
        format!("{}ms x {}{by}", self.interval.as_millis(), self.multiplier)
    }
}

impl Options {
    /// Whether keepalived is needed.
    pub fn is_against_keepalived(&self) -> bool {
        self.against == Some(Rival::Keepalived)
    }

    fn rounds(&self) -> u32 {
        if self.quick { 3 } else { self.rounds }
    }

    fn all(&self) -> bool {
        self.fault.is_empty() && !self.sync && !self.cloud && self.against.is_none()
    }

    /// How often the machine is busy, and for how long.
    fn windows(&self) -> (u32, Duration) {
        match self.quick {
            true => (1, Duration::from_secs(5)),
            false => (self.windows, Duration::from_secs(self.calm)),
        }
    }

    fn timings(&self) -> Vec<Timing> {
        let only = self.interval.map(Duration::from_millis);
        let wanted = |timing: &Timing| only.is_none_or(|only| only == timing.interval);
        let reflects = self.reflect;
        let timings = Timing::ALL.into_iter().filter(wanted);
        timings
            .map(|timing| Timing { reflects, ..timing })
            .collect()
    }

    /// What a quick run leaves out at the second of two settings: what does not depend on them.
    fn leaves_out(&self, timing: Timing) -> bool {
        let [first, _] = Timing::ALL;
        self.quick && self.interval.is_none() && timing.interval != first.interval
    }

    fn faults(&self, timing: Timing) -> impl Iterator<Item = Fault> + use<'_> {
        let wanted = move |fault: &Fault| {
            (self.fault.is_empty() && !self.sync || self.fault.contains(fault))
                && (fault.is_detected() || !self.leaves_out(timing))
        };
        Fault::ALL.into_iter().filter(wanted)
    }

    fn troubles(&self, timing: Timing) -> impl Iterator<Item = Trouble> + use<'_> {
        let (windows, time) = self.windows();
        let any = self.all() && !time.is_zero() && windows > 0;
        let wanted =
            move |trouble: &Trouble| any && (*trouble == Trouble::Busy || !self.leaves_out(timing));
        Trouble::ALL.into_iter().filter(wanted)
    }
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let (rounds, timings) = (options.rounds(), options.timings());
    ensure!(!timings.is_empty(), "nothing is to be done");
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => executable(&mut build, "forwarder")?,
    };

    let begin = Instant::now();
    let mut report = Report::default();
    if options.cloud {
        // At one of the two, where none is chosen.
        report.cloud = cloud::measure(&binary, timings[0], rounds)?;
        report.seconds = begin.elapsed().as_secs_f64();
        report.summary();
        return options.output.end(&report, report.ok());
    }
    let mut world = World::new(&binary)?;
    let keep = |report: &mut Report| {
        report.seconds = begin.elapsed().as_secs_f64();
        options.output.keep(report)
    };
    for timing in timings {
        world.start(timing)?;
        report::header(&MODES);
        for fault in options.faults(timing) {
            if rounds == 0 {
                break;
            }
            let row = Row::new(fault, timing, rounds, &world.rounds(fault, rounds)?);
            row.print();
            report.faults.push(row);
            keep(&mut report)?;
        }
        let (windows, time) = options.windows();
        for (number, trouble) in options.troubles(timing).enumerate() {
            if number == 0 {
                calm::header();
            }
            let calm = world.calm(trouble, time, trouble.windows(windows))?;
            calm.print();
            let all = report.false_failovers.entry(timing.name());
            all.or_default().push(calm);
            keep(&mut report)?;
        }
        if report.sync.is_none() && (options.all() || options.sync) {
            let rounds = if options.quick { 1 } else { 5 };
            report.sync = Some(sync::measure(&mut world, timing, rounds)?);
            keep(&mut report)?;
        }
    }
    drop(world);
    if options.against.is_some() {
        against(options, &binary, &mut report, keep)?;
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report.summary();
    options.output.end(&report, report.ok())
}

/// The same faults, keepalived's way.
fn against(
    options: &Options,
    binary: &Path,
    report: &mut Report,
    keep: impl Fn(&mut Report) -> Result<()>,
) -> Result<()> {
    for settings in keepalived::Settings::ALL {
        let pair = Keepalived::new(binary, settings)?;
        report::header(pair.modes());
        let (name, modes) = (pair.name(), pair.modes());
        let mut world = World::with(pair)?;
        for fault in Fault::ALL {
            let wanted = options.fault.is_empty() || options.fault.contains(&fault);
            if !wanted || !keepalived::can(fault) {
                continue;
            }
            let rounds = world.rounds(fault, options.rounds())?;
            let row = Row::measured(fault, &name, modes, &rounds);
            row.print();
            report.against.push(row);
            keep(report)?;
        }
    }
    Ok(())
}
