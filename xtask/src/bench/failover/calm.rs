//! What is no reason to fail over: a busy machine, a path that loses, hears nothing or is late.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use forwarder_lab::client::probe::Outage;
use forwarder_lab::nodes::PATHS;
use forwarder_lab::{Disturbance, End, Nodes, Relay, wait_until};
use serde::Serialize;

use super::Timing;

/// Busy processes.
const BUSY: usize = 8;
/// By then a path that is disturbed is named.
const NOTICED: Duration = Duration::from_secs(10);
/// No answer takes that long over a path that is not disturbed, and each does over one that is late.
const LATE_US: u64 = 15_000;

/// What disturbs the pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Eight busy processes.
    Busy,
    /// Of what goes over one path, 30 % is lost in each direction.
    Loss,
    /// On one path nothing gets through from one node to the other.
    OneWay,
    /// On both paths everything is late by 10 to 30 ms in each direction.
    Jitter,
}

/// What came of it once.
pub struct Window {
    /// Changes of who is active.
    pub false_failovers: u64,
    /// Whether both nodes say which path it is.
    pub named: bool,
    /// Of the load.
    pub outage: Outage,
    /// Connections that broke or were reset.
    pub broken: u64,
}

/// What came of it every time.
#[derive(Serialize)]
pub struct Calm {
    trouble: &'static str,
    settings: String,
    windows: usize,
    /// Each lasts so long.
    seconds: f64,
    false_failovers: u64,
    /// Windows in which both nodes said which path it is; as many as windows where no path is disturbed.
    named: usize,
    /// Datagrams, of the load.
    sent: u64,
    lost: u64,
    longest_gap_ms: f64,
    broken: u64,
    bar: &'static str,
    holds: bool,
}

impl Trouble {
    pub const ALL: [Self; 4] = [Self::Busy, Self::Loss, Self::OneWay, Self::Jitter];

    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "8-busy-processes",
            Self::Loss => "path-loses-30-percent",
            Self::OneWay => "path-one-way",
            Self::Jitter => "paths-20ms-jitter-10ms",
        }
    }

    /// What is asked for.
    fn bar(self) -> &'static str {
        match self {
            Self::Busy => "0 false",
            Self::Loss | Self::OneWay => "0 false, path named",
            Self::Jitter => "0 false, delay shown",
        }
    }

    /// Disturbs for so long: how often another node became active, and whether status says what it is.
    pub fn last(self, nodes: &Nodes, time: Duration) -> Result<(u64, bool)> {
        let before = epoch(nodes)?;
        let trouble = self.begin(nodes)?;
        // What looks at the nodes takes CPU time from them: nobody looks until it is over.
        thread::sleep(time);
        let named = wait_until("it is named", NOTICED, || {
            (0..2).all(|node| self.is_named(nodes, node))
        });
        trouble.end(nodes)?;
        Ok((epoch(nodes)?.saturating_sub(before), named.is_ok()))
    }

    fn is_named(self, nodes: &Nodes, node: usize) -> bool {
        match self {
            Self::Busy => true,
            Self::Loss | Self::OneWay => {
                let path = nodes.path(0, node);
                let problems = nodes.problems(node);
                problems.iter().any(|problem| problem.starts_with(&path))
            }
            Self::Jitter => {
                let pair = nodes.pair(node);
                let late = |path: &serde_json::Value| {
                    path["round_trip_microseconds"].as_u64() >= Some(LATE_US)
                };
                pair["paths"]
                    .as_array()
                    .is_some_and(|all| all.iter().all(late))
            }
        }
    }

    /// How often, where the machine is busy so often.
    pub fn windows(self, busy: u32) -> u32 {
        if self == Self::Busy {
            busy
        } else {
            busy.min(1)
        }
    }

    fn begin(self, nodes: &Nodes) -> Result<Running> {
        let none = Disturbance::default();
        let loss = |loss| Disturbance { loss, ..none };
        let delay = [10, 30].map(Duration::from_millis);
        let jitter = Disturbance { delay, ..none };
        let mut running = Running::default();
        match self {
            Self::Busy => {
                for _ in 0..BUSY {
                    running.busy.push(busy()?);
                }
            }
            Self::Loss => running.relay(nodes, PATHS[0], [loss(30); 2])?,
            Self::OneWay => running.relay(nodes, PATHS[0], [loss(100), none])?,
            Self::Jitter => {
                for device in PATHS {
                    running.relay(nodes, device, [jitter; 2])?;
                    // While a relay is put in nothing gets through: one path at a time.
                    wait_for_paths(nodes)?;
                }
            }
        }
        Ok(running)
    }
}

impl Calm {
    /// Of so many windows, each of which lasts so long.
    pub fn new(
        trouble: Trouble,
        timing: Timing,
        time: Duration,
        count: u32,
        windows: &[Window],
    ) -> Self {
        let outages: Vec<_> = windows.iter().map(|window| window.outage).collect();
        let outage = Outage::of_all(&outages);
        let false_failovers = windows.iter().map(|window| window.false_failovers).sum();
        let named = windows.iter().filter(|window| window.named).count();
        let broken = windows.iter().map(|window| window.broken).sum();
        Self {
            trouble: trouble.name(),
            settings: timing.name(),
            windows: windows.len(),
            seconds: time.as_secs_f64(),
            false_failovers,
            named,
            sent: outage.sent,
            lost: outage.lost,
            longest_gap_ms: (outage.gap.as_secs_f64() * 1e4).round() / 10.0,
            broken,
            bar: trouble.bar(),
            holds: windows.len() == count as usize
                && false_failovers == 0
                && named == windows.len()
                && broken == 0,
        }
    }

    /// Whether nothing moved, and status says what it is.
    pub fn holds(&self) -> bool {
        self.holds
    }

    pub fn print(&self) {
        println!(
            "{:24} {:18} {:>7} {:>7.0} {:>15} {:>6} {:>6} {:>8} {:>6}  {:20} {}",
            self.trouble,
            self.settings,
            self.windows,
            self.seconds,
            self.false_failovers,
            self.named,
            self.lost,
            self.longest_gap_ms,
            self.broken,
            self.bar,
            if self.holds { "holds" } else { "DOES NOT HOLD" },
        );
    }
}

/// What stands above the rows.
pub fn header() {
    println!(
        "{:24} {:18} {:>7} {:>7} {:>15} {:>6} {:>6} {:>8} {:>6}  {:20}",
        "no reason to fail over",
        "settings",
        "windows",
        "s each",
        "false failovers",
        "named",
        "lost",
        "gap ms",
        "broken",
        "bar"
    );
}

/// Whatever goes on as long as it lasts.
#[derive(Default)]
struct Running {
    relays: Vec<(&'static str, Relay)>,
    busy: Vec<Child>,
}

impl Running {
    fn relay(
        &mut self,
        nodes: &Nodes,
        device: &'static str,
        disturbances: [Disturbance; 2],
    ) -> Result<()> {
        let relay = nodes.site.relay(ends(nodes, device), disturbances)?;
        self.relays.push((device, relay));
        Ok(())
    }

    /// Plugs the paths in as they were.
    fn end(mut self, nodes: &Nodes) -> Result<()> {
        for (device, relay) in self.relays.drain(..) {
            drop(relay);
            nodes.site.replug(ends(nodes, device))?;
            wait_for_paths(nodes)?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.busy {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Puts every path right, whatever disturbed it.
pub fn mend(nodes: &Nodes) -> Result<()> {
    let mut devices = PATHS.into_iter();
    devices.try_for_each(|device| nodes.site.replug(ends(nodes, device)))
}

fn ends<'a>(nodes: &'a Nodes, device: &'a str) -> [End<'a>; 2] {
    [0, 1].map(|node| (nodes.host(node), device))
}

fn wait_for_paths(nodes: &Nodes) -> Result<()> {
    let up = |node| {
        let pair = nodes.pair(node);
        let paths = pair["paths"].as_array();
        paths.is_some_and(|all| all.iter().all(|path| path["state"] == "up"))
    };
    wait_until("every path is up", NOTICED * 6, || (0..2).all(up))
        .with_context(|| nodes.diagnosis())
}

fn busy() -> Result<Child> {
    Command::new("sh")
        .args(["-c", "while :; do :; done"])
        .stdin(Stdio::null())
        .spawn()
        .context("start a busy process")
}

/// The highest epoch: it grows with every takeover.
fn epoch(nodes: &Nodes) -> Result<u64> {
    let epochs = [0, 1].map(|node| nodes.pair(node)["groups"][0]["epoch"].as_u64());
    epochs.into_iter().flatten().max().context("an epoch")
}
