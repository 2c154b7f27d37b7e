//! What is no reason to fail over: a busy machine, a path that loses, hears nothing or is late.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use forwarder_lab::nodes::PATHS;
use forwarder_lab::{Disturbance, Nodes, Relay};
use serde::Serialize;

/// Busy processes.
const BUSY: usize = 8;

/// What disturbs the pair.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// Eight busy processes.
    Busy,
    /// Of what goes over one path, 30 % is lost.
    Loss,
    /// On one path nothing gets through from one node to the other.
    OneWay,
    /// On both paths everything is late by 10 to 30 ms.
    Jitter,
}

/// What came of it.
#[derive(Serialize)]
pub struct Calm {
    pub trouble: &'static str,
    seconds: f64,
    /// Changes of who is active.
    false_failovers: u64,
    /// Datagrams, of the load.
    pub sent: u64,
    pub lost: u64,
    pub longest_gap_ms: f64,
    /// Broken connections and resets.
    pub broken: u64,
    /// What the nodes said of the first path while it lasted.
    path: [String; 2],
}

impl Trouble {
    pub const ALL: [Self; 4] = [Self::Busy, Self::Loss, Self::OneWay, Self::Jitter];

    fn name(self) -> &'static str {
        match self {
            Self::Busy => "8 busy processes",
            Self::Loss => "30 % loss on one path",
            Self::OneWay => "one path one way",
            Self::Jitter => "20 +- 10 ms on both paths",
        }
    }

    /// Disturbs for so long.
    pub fn last(self, nodes: &Nodes, time: Duration) -> Result<Calm> {
        let before = epoch(nodes)?;
        let begin = Instant::now();
        let trouble = self.begin(nodes)?;
        thread::sleep(time);
        let path = [0, 1].map(|node| path(nodes, node));
        drop(trouble);
        let seconds = begin.elapsed().as_secs_f64();
        self.end(nodes)?;
        Ok(Calm {
            trouble: self.name(),
            seconds,
            false_failovers: epoch(nodes)?.saturating_sub(before),
            sent: 0,
            lost: 0,
            longest_gap_ms: 0.0,
            broken: 0,
            path,
        })
    }

    fn begin(self, nodes: &Nodes) -> Result<Running> {
        let late = |from, to| [from, to].map(Duration::from_millis);
        let loss = |loss| Disturbance {
            loss,
            ..Disturbance::default()
        };
        let none = loss(0);
        let jitter = Disturbance {
            delay: late(10, 30),
            ..none
        };
        let relay = |device, disturbances| {
            let ends = [0, 1].map(|node| (nodes.host(node), device));
            nodes.site.relay(ends, disturbances)
        };
        let mut running = Running::default();
        match self {
            Self::Busy => {
                for _ in 0..BUSY {
                    running.busy.push(busy()?);
                }
            }
            Self::Loss => running.relays.push(relay(PATHS[0], [loss(30); 2])?),
            Self::OneWay => running.relays.push(relay(PATHS[0], [loss(100), none])?),
            Self::Jitter => {
                for device in PATHS {
                    running.relays.push(relay(device, [jitter; 2])?);
                }
            }
        }
        Ok(running)
    }

    /// Plugs the paths in as they were.
    fn end(self, nodes: &Nodes) -> Result<()> {
        let devices = match self {
            Self::Busy => &[][..],
            Self::Loss | Self::OneWay => &PATHS[..1],
            Self::Jitter => &PATHS[..],
        };
        devices.iter().try_for_each(|device| {
            let ends = [0, 1].map(|node| (nodes.host(node), *device));
            nodes.site.replug(ends)
        })
    }
}

impl Calm {
    /// Whether nothing moved.
    pub fn ok(&self) -> bool {
        self.false_failovers == 0 && self.broken == 0
    }

    pub fn print(&self, settings: &str) {
        println!(
            "{:26} {settings:8} {:>4.0} s {:>6} false {:>6} of {} lost, longest gap {} ms, {} broken; path: {} / {}  {}",
            self.trouble,
            self.seconds,
            self.false_failovers,
            self.lost,
            self.sent,
            self.longest_gap_ms,
            self.broken,
            self.path[0],
            self.path[1],
            if self.ok() { "holds" } else { "DOES NOT HOLD" },
        );
    }
}

/// Whatever goes on as long as it lasts.
#[derive(Default)]
struct Running {
    relays: Vec<Relay>,
    busy: Vec<Child>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.busy {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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

fn path(nodes: &Nodes, node: usize) -> String {
    let pair = nodes.pair(node);
    pair["paths"][0]["state"].as_str().unwrap_or("?").to_owned()
}
