//! What was measured, for programs and for people.

mod table;
mod wire;

use std::fmt::Write as _;
use std::fs;

use serde::{Deserialize, Serialize};

use super::bars::{Bar, Costs, rounded};
use super::case::Case;
use super::measure::{Samples, rounds};
use super::statistic::Spread;
use super::{Effort, html, scene};
pub use table::{Row, Table};
pub use wire::{Connected, Forwarded, Sample, wire};

/// A run of `forwarder bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this program.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Load average of the last minute at the end of the run.
    pub load: f64,
    /// SHA-256 of the configurations that were measured.
    pub config: String,
    /// Rounds.
    pub rounds: usize,
    /// How fast is fast enough.
    pub bars: Vec<Bar>,
    /// Every case of `bench prog`.
    #[serde(default)]
    pub cases: Vec<Measured>,
    /// Every chain of `bench wire`.
    #[serde(default)]
    pub chains: Vec<Forwarded>,
    /// Connections of `bench wire`.
    #[serde(default)]
    pub connections: Vec<Connected>,
    /// Everything else, such as that of `bench scale`.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// What could not be measured, and why.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// What a case costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The case.
    pub name: String,
    /// The reason that each packet ended in; `None`: a program to compare with.
    pub reason: Option<String>,
    /// CPU time per packet, nanoseconds, net of the wrapper.
    pub net: Spread,
    /// The same with the wrapper.
    pub raw: Spread,
}

/// A case that costs something else than before.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The case.
    pub name: String,
    /// Its cost then and now.
    pub costs: [f64; 2],
    /// Of what they are.
    pub unit: String,
    /// By how much, percent of the old one.
    pub percent: f64,
}

/// Sums the samples up.
pub fn make(cases: &[Case], samples: &Samples, effort: Effort, config: String) -> Report {
    let costs = Costs::new(cases, samples);
    let measured = |(case, samples): (&Case, &Vec<f64>)| Measured {
        name: case.name.clone(),
        reason: case.reason.map(|reason| reason.name().to_owned()),
        net: shown(costs.net(&case.name)),
        raw: shown(Spread::of(samples.iter().copied())),
    };
    Report {
        bars: costs.bars(),
        cases: cases.iter().zip(samples).map(measured).collect(),
        ..Report::here(rounds(effort), config)
    }
}

pub fn shown(spread: Spread) -> Spread {
    Spread {
        median: rounded(spread.median),
        mad: rounded(spread.mad),
    }
}

impl Report {
    /// Nothing yet, about this machine.
    pub fn here(rounds: usize, config: String) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let load = read("/proc/loadavg");
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: cpu
                .map_or("unknown", |name| name.trim_start_matches(['\t', ' ', ':']))
                .to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0),
            config,
            rounds,
            bars: Vec::new(),
            cases: Vec::new(),
            chains: Vec::new(),
            connections: Vec::new(),
            tables: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Both in one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.config = scene::hash([self.config.as_str(), &other.config].into_iter());
        self.load = self.load.max(other.load);
        self.bars.extend(other.bars);
        self.cases.extend(other.cases);
        self.chains.extend(other.chains);
        self.connections.extend(other.connections);
        self.tables.extend(other.tables);
        self.missing.extend(other.missing);
        self
    }

    /// Tables in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# forwarder bench\n\nforwarder {}, Linux {}, {} ({} CPUs), load {:.2}, {} rounds, configuration {}.\n\
             Nanoseconds of CPU time per packet: median of the rounds, ± median absolute deviation.\n\n\
             | bar | measured | bound | |\n|---|---:|---:|---|\n",
            self.version,
            self.kernel,
            self.cpu,
            self.cpus,
            self.load,
            self.rounds,
            &self.config[..self.config.len().min(12)],
        );
        for bar in &self.bars {
            let _ = writeln!(
                text,
                "| {} | {:.2} ± {:.2} | {} | {} |",
                bar.name,
                bar.value,
                bar.mad,
                bar.limit(),
                bar.verdict()
            );
        }
        wire::markdown(&mut text, self);
        table::markdown(&mut text, &self.tables);
        if self.cases.is_empty() {
            return text;
        }
        text += "\n| case | ns, net of the wrapper | with it | reason |\n|---|---:|---:|---|\n";
        for case in &self.cases {
            let _ = writeln!(
                text,
                "| {} | {:.1} ± {:.1} | {:.1} ± {:.1} | {} |",
                case.name,
                case.net.median,
                case.net.mad,
                case.raw.median,
                case.raw.mad,
                case.reason.as_deref().unwrap_or("")
            );
        }
        text
    }

    /// One page with plots, which needs nothing from elsewhere.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Everything with a cost, and the unit.
    fn costs(&self) -> Vec<(String, Spread, String)> {
        let ns = |name, cost| (name, cost, "ns".to_owned());
        let cases = self
            .cases
            .iter()
            .map(|case| ns(case.name.clone(), case.raw));
        let chains = self.chains.iter();
        let chains = chains.map(|chain| ns(format!("wire/{}", chain.name), chain.whole));
        let connections = self.connections.iter();
        let connections = connections.map(|way| ns(format!("tcp/{}", way.name), way.whole));
        let tables = self.tables.iter().flat_map(Table::costs);
        cases
            .chain(chains)
            .chain(connections)
            .chain(tables)
            .collect()
    }

    /// Cases that cost more or less than in an older run by more than `threshold` percent and more than
    /// both runs scatter, the costlier first.
    pub fn changes(&self, old: &Self, threshold: f64) -> Vec<Change> {
        let before = old.costs();
        let mut changes: Vec<Change> = self
            .costs()
            .into_iter()
            .filter_map(|(name, new, unit)| {
                let (_, old, _) = before.iter().find(|(before, ..)| *before == name)?;
                // What was nothing has become infinitely more.
                let percent = (new.median / old.median - 1.0) * 100.0;
                let counts = percent.abs() > threshold && new.differs(*old);
                counts.then_some(Change {
                    name,
                    costs: [old.median, new.median],
                    unit,
                    percent,
                })
            })
            .collect();
        changes.sort_by(|a, b| b.percent.total_cmp(&a.percent));
        changes
    }
}
