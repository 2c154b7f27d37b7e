//! The result, for people and for programs.

use std::time::Duration;

use forwarder_lab::Tally;
use serde::Serialize;

use super::daemon::Counters;

/// Everything, as it is in the JSON.
#[derive(Serialize)]
pub struct Report {
    /// The same load with nothing done: what it loses by itself.
    pub without_change: Row,
    pub changes: Vec<Row>,
}

/// What became of the traffic during one kind of change.
#[derive(Serialize)]
pub struct Row {
    pub change: &'static str,
    pub rounds: u32,
    /// Datagrams and requests.
    pub sent: u64,
    /// Datagrams without an answer.
    pub lost: u64,
    pub broken_connections: u64,
    /// Answers that came twice.
    pub duplicated: u64,
    /// Datagrams that another backend answered than its socket's first.
    pub moved: u64,
    pub datagrams: u64,
    pub connections: u64,
    pub requests: u64,
    /// Every datagram was counted once, and no counter ever went back.
    pub counters_continuous: bool,
    pub counter_problems: Vec<String>,
    pub seconds: f64,
}

impl Row {
    pub fn new(
        change: &'static str,
        rounds: u32,
        tally: &Tally,
        counters: &Counters,
        took: Duration,
    ) -> Self {
        let counter_problems = counters.problems(tally);
        Self {
            change,
            rounds,
            sent: tally.sent(),
            lost: tally.lost,
            broken_connections: tally.broken,
            duplicated: tally.duplicated,
            moved: tally.moved,
            datagrams: tally.datagrams.values().sum(),
            connections: tally.connections,
            requests: tally.requests,
            counters_continuous: counter_problems.is_empty(),
            counter_problems,
            seconds: took.as_secs_f64(),
        }
    }

    pub fn ok(&self) -> bool {
        self.lost == 0
            && self.broken_connections == 0
            && self.duplicated == 0
            && self.counters_continuous
    }

    pub fn print(&self) {
        let counters = if self.counters_continuous {
            "go on"
        } else {
            "WRONG"
        };
        println!(
            "{:10} {:>6} {:>10} {:>5} {:>10} {:>11} {:>6} {:>9} {:>6.0}",
            self.change,
            self.rounds,
            self.datagrams,
            self.lost,
            self.duplicated,
            self.connections,
            self.broken_connections,
            counters,
            self.seconds,
        );
        for problem in &self.counter_problems {
            println!("           {problem}");
        }
    }
}

/// What stands above the rows.
pub fn header() {
    println!(
        "{:10} {:>6} {:>10} {:>5} {:>10} {:>11} {:>6} {:>9} {:>6}",
        "change",
        "rounds",
        "datagrams",
        "lost",
        "duplicated",
        "connections",
        "broken",
        "counters",
        "s"
    );
}

impl Report {
    pub fn ok(&self) -> bool {
        self.changes.iter().all(Row::ok)
    }

    pub fn summary(&self) {
        if !self.without_change.ok() {
            println!(
                "the load itself loses: this machine is too busy for it, or the way is broken"
            );
        }
        println!(
            "{}",
            if self.ok() {
                "nothing lost, nothing broken"
            } else {
                "FAILED"
            }
        );
    }
}
