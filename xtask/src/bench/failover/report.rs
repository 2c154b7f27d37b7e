//! The result, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use forwarder_lab::client::probe::Outage;
use serde::Serialize;

use super::calm::Calm;
use super::fault::Fault;
use super::round::{MODES, Mode, Round, connections};
use super::sync::Sync;
use super::{Timing, cloud};
use crate::bench::statistic::{milliseconds, percentile};

/// Everything, as it is in the JSON.
#[derive(Default, Serialize)]
pub struct Report {
    pub faults: Vec<Row>,
    /// By settings.
    pub false_failovers: BTreeMap<String, Vec<Calm>>,
    /// What telling the standby of flows takes.
    pub sync: Option<Sync>,
    /// What a takeover takes by calls of a cloud's API.
    pub cloud: Vec<cloud::Row>,
    /// The same faults with what users would run instead. No bar is held against it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Row>,
    pub seconds: f64,
}

/// What a kind of fault does, in all its rounds.
#[derive(Serialize)]
pub struct Row {
    fault: &'static str,
    settings: String,
    /// That could be measured.
    rounds: usize,
    /// The longest time without an answer, of each round.
    pub gap_ms: Spread,
    /// How far the rounds are off their median: median absolute deviation.
    gap_mad_ms: f64,
    /// The same as the gap while what was broken came back.
    second_gap_ms: Spread,
    /// Datagrams, of all rounds.
    sent: u64,
    lost: u64,
    lost_by_mode: BTreeMap<&'static str, u64>,
    duplicated: u64,
    /// Of all rounds.
    resets: u64,
    broken: u64,
    /// Open in each round.
    connections: usize,
    /// The longest that a connection waited, which then went on.
    stalled_ms: f64,
    double_owner_rounds: usize,
    bar: String,
    /// What it is about.
    counts: &'static str,
    /// That.
    value: f64,
    /// What it may be at most.
    bound: f64,
    pub holds: bool,
}

/// How something is spread over the rounds.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    p95: f64,
    pub max: f64,
}

impl Spread {
    pub fn new(times: &[Duration]) -> Self {
        let mut times = milliseconds(times);
        let mut at = |percent| (percentile(&mut times, percent) * 10.0).round() / 10.0;
        Self {
            median: at(50),
            p95: at(95),
            max: at(100),
        }
    }
}

/// What is asked for beside unbroken connections.
enum Bar {
    /// The median gap, milliseconds.
    Median(f64),
    /// The longest gap, milliseconds.
    Longest(f64),
    /// The longest second gap, milliseconds.
    Second(f64),
    /// Nothing is lost.
    NothingLost,
}

impl Bar {
    fn of(fault: Fault, timing: Timing) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        match fault {
            Fault::SilentDeath if timing.interval < Duration::from_millis(50) => Self::Median(40.0),
            Fault::SilentDeath => Self::Median(220.0),
            Fault::Kill | Fault::Stop => Self::Longest(ms(timing.lease() + timing.detection())),
            Fault::LinkDown | Fault::CarrierLoss => Self::Longest(40.0),
            Fault::Partition => Self::Second(10.0),
            Fault::None | Fault::HandOver | Fault::Maintenance | Fault::Upgrade => {
                Self::NothingLost
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Median(ms) => format!("median <= {ms} ms"),
            Self::Longest(ms) => format!("gap <= {ms} ms"),
            Self::Second(ms) => format!("second <= {ms} ms"),
            Self::NothingLost => "0 lost".to_owned(),
        }
    }

    /// What is looked at, and how much it may be at most.
    fn of_row(&self, row: &Row) -> (&'static str, f64, f64) {
        match self {
            Self::Median(ms) => ("median gap, ms", row.gap_ms.median, *ms),
            Self::Longest(ms) => ("longest gap, ms", row.gap_ms.max, *ms),
            Self::Second(ms) => ("longest second gap, ms", row.second_gap_ms.max, *ms),
            Self::NothingLost => ("datagrams lost", row.lost as f64, 0.0),
        }
    }
}

impl Row {
    /// Of so many rounds that were wanted.
    pub fn new(fault: Fault, timing: Timing, count: u32, rounds: &[Round]) -> Self {
        let bar = Bar::of(fault, timing);
        let mut row = Self::measured(fault, &timing.name(), &MODES, rounds);
        row.bar = bar.name();
        (row.counts, row.value, row.bound) = bar.of_row(&row);
        row.holds = row.value <= row.bound
            && row.rounds == count as usize
            && row.double_owner_rounds == 0
            && row.resets + row.broken == 0;
        row
    }

    /// Of what has no bar.
    pub fn measured(fault: Fault, settings: &str, modes: &[Mode], rounds: &[Round]) -> Self {
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum();
        let all = rounds
            .iter()
            .flat_map(|round| round.fault.iter().chain(&round.afterwards));
        let total = Outage::of_all(&all.copied().collect::<Vec<_>>());
        let lost = |mode: usize| {
            let both = |round: &Round| round.fault[mode].lost + round.afterwards[mode].lost;
            rounds.iter().map(both).sum()
        };
        let gaps = |of: fn(&Round) -> &[Outage]| {
            let gaps = rounds.iter().map(|round| Outage::of_all(of(round)).gap);
            Spread::new(&gaps.collect::<Vec<_>>())
        };
        let gap_ms = gaps(|round| &round.fault);
        let mut off: Vec<f64> = rounds
            .iter()
            .map(|round| Outage::of_all(&round.fault).gap.as_secs_f64() * 1e3 - gap_ms.median)
            .map(f64::abs)
            .collect();
        Self {
            fault: fault.name(),
            settings: settings.to_owned(),
            rounds: rounds.len(),
            gap_ms,
            gap_mad_ms: percentile(&mut off, 50),
            second_gap_ms: gaps(|round| &round.afterwards),
            sent: total.sent,
            lost: total.lost,
            lost_by_mode: (0..)
                .zip(modes)
                .map(|(at, (mode, ..))| (*mode, lost(at)))
                .collect(),
            duplicated: total.duplicated,
            resets: sum(|round| round.resets),
            broken: sum(|round| round.broken),
            connections: connections(modes),
            stalled_ms: rounds
                .iter()
                .map(|round| round.stalled.as_secs_f64() * 1e3)
                .fold(0.0, f64::max)
                .round(),
            double_owner_rounds: rounds.iter().filter(|round| round.twice > 0).count(),
            bar: String::new(),
            counts: "",
            value: 0.0,
            bound: 0.0,
            holds: false,
        }
    }

    pub fn print(&self) {
        println!(
            "{:12} {:28} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>6} {:>5} {:>6} {:>6} {:>7.0} {:>6}  {:18} {}",
            self.fault,
            self.settings,
            self.rounds,
            self.gap_ms.median,
            self.gap_ms.p95,
            self.gap_ms.max,
            self.second_gap_ms.max,
            self.lost,
            self.duplicated,
            self.resets,
            self.broken,
            self.stalled_ms,
            self.double_owner_rounds,
            self.bar,
            match (self.bar.is_empty(), self.holds) {
                (true, _) => "",
                (false, true) => "holds",
                (false, false) => "DOES NOT HOLD",
            },
        );
    }
}

/// What stands above the rows.
pub fn header(modes: &[Mode]) {
    println!(
        "{} connections; gaps and stalls in ms; second: while what was broken comes back; double: rounds in which both nodes answered for a VIP",
        connections(modes)
    );
    println!(
        "{:12} {:28} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6} {:>5} {:>6} {:>6} {:>7} {:>6}  {:18}",
        "fault",
        "settings",
        "rounds",
        "median",
        "p95",
        "longest",
        "second",
        "lost",
        "twice",
        "resets",
        "broken",
        "stalled",
        "double",
        "bar"
    );
}

impl Report {
    pub fn ok(&self) -> bool {
        let mut calm = self.false_failovers.values().flatten();
        self.faults.iter().all(|row| row.holds)
            && calm.all(Calm::holds)
            && self.sync.as_ref().is_none_or(Sync::holds)
            && self.cloud.iter().all(cloud::Row::holds)
    }

    pub fn summary(&self) {
        let calm: Vec<_> = self.false_failovers.values().flatten().collect();
        let good = self.faults.iter().filter(|row| row.holds).count()
            + calm.iter().filter(|calm| calm.holds()).count()
            + usize::from(self.sync.as_ref().is_some_and(Sync::holds))
            + self.cloud.iter().filter(|row| row.holds()).count();
        let all =
            self.faults.len() + calm.len() + usize::from(self.sync.is_some()) + self.cloud.len();
        println!("{good} of {all} bars hold, in {:.0} s", self.seconds);
    }
}
