//! What was measured, for programs and for people.

mod table;
mod wire;

use std::fmt::Write as _;
use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::bars::{self, Bar, Costs, rounded};
use super::case::Case;
use super::measure::{Samples, rounds};
use super::statistic::Spread;
use super::{Effort, html, scale, scene};
pub use table::{Row, Table};
pub use wire::{Connected, Forwarded, Sample, wire};

/// What the JSON looks like: raised when something is called otherwise, or means something else.
pub const SCHEMA: u64 = 1;

/// A run of `forwarder bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u64,
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

/// Why a file is no report.
#[derive(Debug, Error)]
pub enum NoReport {
    /// Not even JSON, or something in it is not what it should be.
    #[error("it is no report of `forwarder bench`: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of something else.
    #[error(
        "it is JSON, but no report of `forwarder bench --json` (of `cargo xtask bench`, take report.json)"
    )]
    Foreign,
    /// Of another version of this program.
    #[error(
        "it was written by another version: its schema is {0}, this program's {SCHEMA}. Measure it again"
    )]
    Schema(u64),
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
            schema: SCHEMA,
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

    /// What was written as JSON.
    ///
    /// # Errors
    /// It is something else, or of a version that means something else.
    pub fn read(json: &str) -> Result<Self, NoReport> {
        let value: Value = serde_json::from_str(json)?;
        match value.get("schema").and_then(Value::as_u64) {
            _ if value.get("bars").is_none() => Err(NoReport::Foreign),
            Some(SCHEMA) => Ok(serde_json::from_value(value)?),
            other => Err(NoReport::Schema(other.unwrap_or(0))),
        }
    }

    /// With a bar for each promise there is, also where nothing was measured.
    #[must_use]
    pub fn with_every_bar(mut self) -> Self {
        let promises = bars::promises()
            .chain(wire::promises())
            .chain(scale::promises());
        self.bars = bars::complete(self.bars, promises);
        self
    }

    /// Both in one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.config = scene::hash([self.config.as_str(), &other.config].into_iter());
        self.load = self.load.max(other.load);
        self.bars = bars::merged(self.bars, other.bars);
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
                "| {} | {} | {} | {} |",
                bar.title(),
                bar.measured(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn empty() -> Report {
        Report::here(15, "c0ffee".into())
    }

    #[test]
    fn each_promise_has_a_bar_once_measured_or_not() {
        let half = |measured: bool| {
            let promises = if measured {
                wire::promises().collect()
            } else {
                Vec::new()
            };
            let held = promises
                .iter()
                .map(|promise| promise.held(Spread::default()));
            Report {
                bars: bars::complete(held.collect(), wire::promises()),
                ..empty()
            }
        };
        for (one, other) in [(false, true), (true, false)] {
            let both = half(one).and(half(other)).with_every_bar();
            let names: std::collections::BTreeSet<_> =
                both.bars.iter().map(|bar| &bar.name).collect();
            assert_eq!(names.len(), both.bars.len());
            let measured = both.bars.iter().filter(|bar| bar.value.is_some());
            assert_eq!(measured.count(), wire::promises().count());
            assert_eq!(both.clone().with_every_bar(), both);
        }
        let text = half(false).markdown();
        assert!(text.contains("| – | ≤ 1.15 | not measured |"), "{text}");
    }

    /// Who reads it finds what it says today. A change of this needs another [`SCHEMA`].
    #[test]
    fn the_json_is_what_it_was() {
        let mut bar = Bar::new("bar", Spread::default(), 1.0, false);
        bar.note = Some("note".into());
        let spread = json!({ "median": 0.0, "mad": 0.0 });
        let report = Report {
            bars: vec![bar],
            cases: vec![Measured {
                name: "case".into(),
                reason: None,
                net: Spread::default(),
                raw: Spread::default(),
            }],
            tables: vec![Table::new(
                "table",
                "about",
                &["ms"],
                vec![Row::new("row", Spread::default(), &[1.0])],
            )],
            ..empty()
        };
        let value = serde_json::to_value(&report).expect("JSON");
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        let expected = [
            "bars",
            "cases",
            "chains",
            "config",
            "connections",
            "cpu",
            "cpus",
            "kernel",
            "load",
            "missing",
            "rounds",
            "schema",
            "tables",
            "version",
        ];
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(sorted, expected);
        assert_eq!(
            value["bars"][0],
            json!({ "name": "bar", "value": 0.0, "mad": 0.0, "bound": 1.0, "at_least": false,
                "holds": true, "certain": true, "note": "note" })
        );
        assert_eq!(
            value["cases"][0],
            json!({ "name": "case", "reason": null, "net": spread, "raw": spread })
        );
        assert_eq!(
            value["tables"][0],
            json!({ "name": "table", "about": "about", "columns": ["ms"],
                "rows": [{ "name": "row", "value": spread, "more": [1.0] }] })
        );
        assert_eq!(Report::read(&value.to_string()).expect("a report"), report);
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_reason() {
        let said = |text: &str| Report::read(text).expect_err(text).to_string();
        for garbage in ["", "\u{0}\u{1}", "{", "forwarder bench"] {
            assert!(said(garbage).contains("no report"), "{garbage:?}");
        }
        for foreign in ["{}", "[]", "1", r#"{"faults":[]}"#, r#"{"schema":1}"#] {
            assert!(said(foreign).contains("no report"), "{foreign}");
        }
        assert!(said(r#"{"bars":[]}"#).contains("its schema is 0"));
        assert!(said(r#"{"schema":2,"bars":[]}"#).contains("another version"));
        assert!(said(r#"{"schema":1,"bars":[{}]}"#).contains("no report"));
    }
}
