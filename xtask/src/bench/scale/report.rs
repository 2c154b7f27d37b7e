//! The result, for people and for programs.

use std::time::Duration;

use forwarder_lab::{Tally, Usage};
use serde::Serialize;

use crate::bench::statistic::{milliseconds, percentile};

/// Everything, as it is in the JSON.
#[derive(Serialize)]
pub struct Report {
    steps: Vec<Step>,
    /// The daemon's own memory after the start, and at the end.
    resident_bytes: [u64; 2],
    map_bytes: u64,
    descriptors: [u64; 2],
    maps: [u64; 2],
    programs: [u64; 2],
    status_bytes: usize,
    metrics_bytes: usize,
    datagrams: u64,
    lost: u64,
    connections: u64,
    broken_connections: u64,
}

/// What one thing takes.
#[derive(Serialize)]
pub struct Step {
    pub name: &'static str,
    rounds: usize,
    median_ms: f64,
    mad_ms: f64,
    longest_ms: f64,
}

impl Step {
    pub fn once(name: &'static str, time: Duration) -> Self {
        Self::new(name, vec![time])
    }

    /// Of at least one time.
    pub fn new(name: &'static str, times: Vec<Duration>) -> Self {
        let mut times = milliseconds(&times);
        let median = percentile(&mut times, 50);
        let mut off: Vec<f64> = times.iter().map(|time| (time - median).abs()).collect();
        Self {
            name,
            rounds: times.len(),
            median_ms: median,
            mad_ms: percentile(&mut off, 50),
            longest_ms: percentile(&mut times, 100),
        }
    }

    /// Takes off a pause that was measured too.
    pub fn less(&mut self, pause: Duration) {
        self.median_ms -= pause.as_secs_f64() * 1e3;
        self.longest_ms -= pause.as_secs_f64() * 1e3;
    }
}

impl Report {
    pub fn new(
        steps: Vec<Step>,
        started: Usage,
        ended: Usage,
        tally: &Tally,
        status_bytes: usize,
        metrics_bytes: usize,
    ) -> Self {
        Self {
            steps,
            resident_bytes: [started.resident, ended.resident],
            map_bytes: ended.map_memory,
            descriptors: [started.descriptors, ended.descriptors],
            maps: [started.maps, ended.maps],
            programs: [started.programs, ended.programs],
            status_bytes,
            metrics_bytes,
            datagrams: tally.datagrams.values().sum(),
            lost: tally.lost,
            connections: tally.connections,
            broken_connections: tally.broken,
        }
    }

    pub fn ok(&self) -> bool {
        self.lost == 0 && self.broken_connections == 0
    }

    pub fn print(&self) {
        println!(
            "{:40} {:>6} {:>10} {:>10}",
            "", "rounds", "median ms", "longest ms"
        );
        for step in &self.steps {
            println!(
                "{:40} {:>6} {:>10.1} {:>10.1}",
                step.name, step.rounds, step.median_ms, step.longest_ms
            );
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "memory: the daemon {:.0} MiB after the start, {:.0} MiB at the end; maps {:.0} MiB, at the default limits",
            mib(self.resident_bytes[0]),
            mib(self.resident_bytes[1]),
            mib(self.map_bytes)
        );
        println!(
            "status: {} kB of JSON; metrics: {} kB",
            self.status_bytes / 1000,
            self.metrics_bytes / 1000
        );
        println!(
            "meanwhile: {} datagrams, {} lost; {} connections, {} broken",
            self.datagrams, self.lost, self.connections, self.broken_connections
        );
    }
}
