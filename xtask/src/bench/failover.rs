//! `cargo xtask bench failover`: the active node of a pair dies, hangs, loses its links, is cut off, hands over
//! and is upgraded, while 1 kHz of numbered datagrams and hundreds of connections go through it; how long nobody
//! answers, what is lost, what breaks, and whether ever two nodes answer for a VIP.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod calm;
mod fault;
mod report;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use self::calm::Trouble;
use self::fault::Fault;
use self::report::{Report, Row};
use self::round::World;
use crate::command::{cargo, executable};

/// Break the active node of a pair in every way, and see what clients notice
#[derive(Args)]
pub struct Options {
    /// Write the result there as JSON; `-`: to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each is done
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// Do each three times only
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Do only these, and nothing that is no fault
    #[arg(long, value_name = "NAME")]
    fault: Vec<Fault>,
    /// For so long each disturbance lasts that is no reason to fail over; 0: none
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    calm: u64,
    /// Do it at this interval of the two only
    #[arg(long, value_name = "MILLISECONDS")]
    interval: Option<u64>,
    /// Measure this executable, and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// How the nodes watch each other.
#[derive(Clone, Copy)]
pub struct Timing {
    interval: Duration,
    multiplier: u32,
}

impl Timing {
    const ALL: [Self; 2] = [Self::new(50), Self::new(10)];

    const fn new(milliseconds: u64) -> Self {
        Self {
            interval: Duration::from_millis(milliseconds),
            multiplier: 3,
        }
    }

    /// How long a silent peer is not noticed, about.
    fn detection(self) -> Duration {
        self.interval * self.multiplier
    }

    fn name(self) -> String {
        format!("{}ms x {}", self.interval.as_millis(), self.multiplier)
    }
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let rounds = if options.quick { 3 } else { options.rounds };
    let wanted = |fault: &Fault| options.fault.is_empty() || options.fault.contains(fault);
    let timings = Timing::ALL.into_iter().filter(|timing| {
        let only = options.interval.map(Duration::from_millis);
        only.is_none_or(|only| only == timing.interval)
    });
    let timings: Vec<_> = timings.collect();
    ensure!(!timings.is_empty() && rounds > 0, "nothing is to be done");
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => executable(&mut build, "forwarder")?,
    };

    let begin = Instant::now();
    let mut report = Report::default();
    let mut world = World::new(&binary)?;
    report::header();
    for timing in timings {
        world.start(timing)?;
        for fault in Fault::ALL.into_iter().filter(wanted) {
            let row = Row::new(fault, timing, &world.rounds(fault, rounds)?);
            row.print();
            report.faults.push(row);
        }
        let time = Duration::from_secs(if options.quick { 5 } else { options.calm });
        for trouble in Trouble::ALL {
            if time.is_zero() || !options.fault.is_empty() {
                continue;
            }
            let calm = world.calm(trouble, time)?;
            calm.print(&timing.name());
            let all = report.false_failovers.entry(timing.name());
            all.or_default().push(calm);
        }
        report.sync.insert(timing.name(), world.sync());
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report.summary();
    super::write(options.json.as_ref(), &report)?;
    Ok(if report.ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
