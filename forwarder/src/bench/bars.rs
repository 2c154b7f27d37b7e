//! How fast is fast enough: ratios within one run, so that the machine does not matter much, and what single
//! things cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::case::{Case, Program};
use super::measure::Samples;
use super::statistic::Spread;

/// A ratio and what it may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What is compared.
    pub name: String,
    /// Median of the rounds' ratios; nothing if it was not measured.
    pub value: Option<f64>,
    /// How far the rounds are off it.
    pub mad: f64,
    /// What it may be at most; or at least.
    pub bound: f64,
    /// Whether the bound is a lower one.
    #[serde(default)]
    pub at_least: bool,
    /// Whether it is; what was not measured does not hold.
    pub holds: bool,
    /// Whether value and bound are farther apart than the rounds scatter.
    pub certain: bool,
    /// What else is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Bar {
    /// Holds a ratio against its bound.
    pub fn new(name: &str, ratio: Spread, bound: f64, at_least: bool) -> Self {
        let (over, under) = (ratio.median >= bound, ratio.median <= bound);
        Self {
            name: name.to_owned(),
            value: Some(rounded(ratio.median)),
            mad: rounded(ratio.mad),
            bound,
            at_least,
            holds: if at_least { over } else { under },
            certain: ratio.mad == 0.0 || (ratio.median - bound).abs() > ratio.mad,
            note: None,
        }
    }

    /// What was measured, as people write it.
    pub fn measured(&self) -> String {
        match self.value {
            Some(value) => format!("{value:.2} ± {:.2}", self.mad),
            None => "–".to_owned(),
        }
    }

    /// What it is called, and what else is to be said of it.
    pub fn title(&self) -> String {
        match &self.note {
            Some(note) => format!("{} ({note})", self.name),
            None => self.name.clone(),
        }
    }

    /// The bound as people write it.
    pub fn limit(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        format!("{sign} {}", self.bound)
    }

    /// In words.
    pub fn verdict(&self) -> &'static str {
        match (self.value, self.holds, self.certain) {
            (None, ..) => "not measured",
            (_, true, true) => "holds",
            (_, false, true) => "MISSED",
            (.., false) => "cannot be told",
        }
    }
}

/// What is promised: the name of a bar and its bound, whether or not it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// What is compared.
    pub name: &'static str,
    /// What it may be at most; or at least.
    pub bound: f64,
    /// Whether the bound is a lower one.
    pub at_least: bool,
}

impl Promise {
    /// No more than this.
    pub const fn at_most(name: &'static str, bound: f64) -> Self {
        Self {
            name,
            bound,
            at_least: false,
        }
    }

    /// No less than this.
    pub const fn at_least(name: &'static str, bound: f64) -> Self {
        Self {
            at_least: true,
            ..Self::at_most(name, bound)
        }
    }

    /// Holds what was measured against it.
    pub fn held(&self, ratio: Spread) -> Bar {
        Bar::new(self.name, ratio, self.bound, self.at_least)
    }

    /// A bar that says that nothing was measured.
    fn open(&self) -> Bar {
        Bar {
            value: None,
            mad: 0.0,
            holds: false,
            certain: false,
            ..self.held(Spread::default())
        }
    }
}

/// One bar of each promise, in that order, and whatever else there is behind them.
pub fn complete(mut bars: Vec<Bar>, promises: impl Iterator<Item = Promise>) -> Vec<Bar> {
    let mut all = Vec::new();
    for promise in promises {
        let before = all.len();
        all.extend(bars.extract_if(.., |bar| bar.name == promise.name));
        if all.len() == before {
            all.push(promise.open());
        }
    }
    all.extend(bars);
    all
}

/// The bars of two runs: what one of them has not measured the other may have.
pub fn merged(mut bars: Vec<Bar>, others: Vec<Bar>) -> Vec<Bar> {
    for other in others {
        match bars.iter_mut().find(|bar| bar.name == other.name) {
            Some(bar) if bar.value.is_none() => *bar = other,
            Some(_) if other.value.is_none() => (),
            _ => bars.push(other),
        }
    }
    bars
}

/// What is promised of programs alone.
pub fn promises() -> impl Iterator<Item = Promise> {
    let ratios = RATIOS.iter().map(|ratio| (ratio.name, ratio.bound));
    let differences = DIFFERENCES.iter().map(|each| (each.name, each.bound));
    let all = ratios.chain(differences);
    all.map(|(name, bound)| Promise::at_most(name, bound))
}

/// What two costs are of.
struct Ratio {
    name: &'static str,
    /// Mean of these.
    above: &'static [&'static str],
    below: &'static [&'static str],
    /// With the empty program's cost, which the wrapper's takes with it.
    gross: bool,
    bound: f64,
}

const EMPTY: &str = "empty/ipv4/tcp/64B/1";

macro_rules! ratios {
    ($($name:literal: [$($above:literal)+] / [$($below:literal)+] <= $bound:literal $($gross:ident)?;)*) => {
        &[$(Ratio {
            name: $name,
            above: &[$($above),+],
            below: &[$($below),+],
            gross: ratios!(@gross $($gross)?),
            bound: $bound,
        }),*]
    };
    (@gross gross) => { true };
    (@gross) => { false };
}

const RATIOS: &[Ratio] = ratios! {
    "l2-dsr, IPv4, one flow ÷ empty program, gross": ["l2-dsr/ipv4/tcp/64B/1"] / ["empty/ipv4/tcp/64B/1"] <= 3.0 gross;
    "ipip-dsr, IPv4, one flow ÷ constant encapsulation": ["ipip-dsr/ipv4/tcp/64B/1"] / ["constant-ipip/ipv4/tcp/64B/1"] <= 4.0;
    "ipip-dsr, IPv4, 1 M flows ÷ one flow": ["ipip-dsr/ipv4/tcp/64B/1M"] / ["ipip-dsr/ipv4/tcp/64B/1"] <= 2.0;
    "ipip-dsr, IPv4, every packet a new flow ÷ one flow": ["ipip-dsr/ipv4/syn/64B/new"] / ["ipip-dsr/ipv4/tcp/64B/1"] <= 2.0;
    "gue-dsr ÷ ipip-dsr, IPv4": ["gue-dsr/ipv4/tcp/64B/1"] / ["ipip-dsr/ipv4/tcp/64B/1"] <= 1.6;
    "gue-dsr ÷ ipip-dsr, IPv6": ["gue-dsr/ipv6/tcp/80B/1"] / ["ipip-dsr/ipv6/tcp/80B/1"] <= 1.6;
    "l2-dsr, IPv6 ÷ IPv4": ["l2-dsr/ipv6/tcp/80B/1"] / ["l2-dsr/ipv4/tcp/64B/1"] <= 1.5;
    "ipip-dsr, IPv6 ÷ IPv4": ["ipip-dsr/ipv6/tcp/80B/1"] / ["ipip-dsr/ipv4/tcp/64B/1"] <= 1.5;
    "gue-dsr, IPv6 ÷ IPv4": ["gue-dsr/ipv6/tcp/80B/1"] / ["gue-dsr/ipv4/tcp/64B/1"] <= 1.5;
    "dnat, IPv6 ÷ IPv4": ["dnat/ipv6/tcp/80B/1" "dnat/ipv6/reply/80B/1"] / ["dnat/ipv4/tcp/64B/1" "dnat/ipv4/reply/64B/1"] <= 1.5;
    "full-nat, IPv6 ÷ IPv4": ["full-nat/ipv6/tcp/80B/1" "full-nat/ipv6/reply/80B/1"] / ["full-nat/ipv4/tcp/64B/1" "full-nat/ipv4/reply/64B/1"] <= 1.5;
    "full-nat established, both directions, one flow ÷ empty program, gross": ["full-nat/ipv4/tcp/64B/1" "full-nat/ipv4/reply/64B/1"] / ["empty/ipv4/tcp/64B/1"] <= 5.0 gross;
    "full-nat established, both directions, 1 k flows ÷ empty program, gross": ["full-nat/ipv4/tcp/64B/1k" "full-nat/ipv4/reply/64B/1k"] / ["empty/ipv4/tcp/64B/1"] <= 7.0 gross;
    "full-nat, both directions, 100 k flows ÷ a lookup in a plain full-size LRU map": ["full-nat/ipv4/tcp/64B/100k" "full-nat/ipv4/reply/64B/100k"] / ["plain-lru/ipv4/tcp/64B/100k"] <= 0.6;
    "VIP miss, passed ÷ empty program, gross": ["miss/ipv4/tcp/64B/1"] / ["empty/ipv4/tcp/64B/1"] <= 2.0 gross;
};

/// What one thing costs: how much more a case takes than the same without it, in nanoseconds.
struct Difference {
    name: &'static str,
    with: &'static str,
    without: &'static str,
    bound: f64,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "a pair's lease checked, IPv4, ns",
        with: "1-servers+lease/ipv4/tcp/64B/1",
        without: "1-servers/ipv4/tcp/64B/1",
        bound: 3.0,
    },
    Difference {
        name: "a pair's lease checked, IPv6, ns",
        with: "1-servers+lease/ipv6/tcp/80B/1",
        without: "1-servers/ipv6/tcp/80B/1",
        bound: 3.0,
    },
];

/// Every case's cost, round by round, net of the wrapper.
pub struct Costs<'a> {
    cases: BTreeMap<&'a str, Vec<f64>>,
}

impl<'a> Costs<'a> {
    /// Subtracts the wrapper.
    pub fn new(cases: &'a [Case], samples: &Samples) -> Self {
        let wrapper = |ipv6| {
            let mut with = cases.iter().zip(samples);
            let is = |case: &Case| case.name.starts_with("wrapper/") && case.ipv6 == ipv6;
            with.find(|(case, _)| is(case))
                .map_or(&[][..], |(_, samples)| samples)
        };
        let wrappers = [false, true].map(wrapper);
        let net = |(case, samples): (&'a Case, &Vec<f64>)| {
            let values = samples.iter().enumerate().map(|(round, sample)| {
                let own = wrappers[usize::from(case.ipv6)].get(round);
                match case.program {
                    Program::Bare(_) => *sample,
                    _ => sample - own.copied().unwrap_or(0.0),
                }
            });
            (case.name.as_str(), values.collect())
        };
        Self {
            cases: cases.iter().zip(samples).map(net).collect(),
        }
    }

    /// A case's cost.
    pub fn net(&self, name: &str) -> Spread {
        Spread::of(self.cases.get(name).into_iter().flatten().copied())
    }

    fn mean(&self, names: &[&str], round: usize) -> Option<f64> {
        let costs = names
            .iter()
            .map(|name| self.cases.get(name)?.get(round).copied());
        let sum: Option<f64> = costs.sum();
        sum.map(|sum| sum / names.len() as f64)
    }

    /// Every bar, also those whose cases were not measured.
    pub fn bars(&self) -> Vec<Bar> {
        let rounds = self.cases.values().map(Vec::len).max().unwrap_or(0);
        let bar = |ratio: &Ratio| {
            let value = |round| {
                let empty = if ratio.gross {
                    self.mean(&[EMPTY], round)?
                } else {
                    0.0
                };
                let below = self.mean(ratio.below, round)?;
                // Nothing can be said of what costs no more than the wrapper.
                (below > 0.0).then_some((self.mean(ratio.above, round)? + empty) / below)
            };
            let values: Option<Vec<f64>> = (0..rounds).map(value).collect();
            let spread = Spread::of(values?.into_iter());
            Some(Bar::new(ratio.name, spread, ratio.bound, false))
        };
        let differences = DIFFERENCES.iter().filter_map(|each| {
            let difference = |round| {
                let with = self.mean(&[each.with], round)?;
                Some(with - self.mean(&[each.without], round)?)
            };
            let values: Option<Vec<f64>> = (0..rounds).map(difference).collect();
            let spread = Spread::of(values?.into_iter());
            Some(Bar::new(each.name, spread, each.bound, false))
        });
        let measured = RATIOS.iter().filter_map(bar).chain(differences);
        complete(measured.collect(), promises())
    }
}

/// Three digits after the point.
pub fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Effort, cases, scene};

    fn cases(effort: Effort) -> Vec<Case> {
        cases::all(&scene::Kind::ALL, effort).expect("cases")
    }

    #[test]
    fn names_are_distinct() {
        let cases = cases(Effort::Full);
        let names: std::collections::BTreeSet<&str> =
            cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn every_bar_has_its_cases() {
        for effort in [Effort::Quick, Effort::Full] {
            let cases = cases(effort);
            let cost = |case: &Case| {
                if case.name.starts_with("wrapper/") {
                    9.0
                } else {
                    20.0
                }
            };
            let samples = cases.iter().map(|case| vec![cost(case); 3]).collect();
            let bars = Costs::new(&cases, &samples).bars();
            assert_eq!(bars.len(), RATIOS.len() + DIFFERENCES.len());
            assert!(bars.iter().all(|bar| bar.value.is_some()), "{bars:?}");
        }
    }

    #[test]
    fn ratios_are_net_of_the_wrapper_or_gross() {
        let cases = cases(Effort::Quick);
        let sample = |case: &Case| match case.name.split('/').next() {
            Some("empty") => 6.0,
            Some("wrapper") => 16.0,
            Some("l2-dsr") => 28.0,
            _ => 40.0,
        };
        let samples = cases.iter().map(|case| vec![sample(case); 3]).collect();
        let bars = Costs::new(&cases, &samples).bars();
        // (28 − 16 + 6) ÷ 6
        assert_eq!((bars[0].value, bars[0].bound), (Some(3.0), 3.0));
        assert!(bars[0].holds && bars[0].certain, "nothing scatters");
        // (40 − 16) ÷ (40 − 16)
        assert_eq!(bars[4].value, Some(1.0));
        assert!(bars[4].holds && bars[4].certain);
    }

    #[test]
    fn what_was_not_measured_is_a_bar_that_does_not_hold() {
        let cases = cases(Effort::Quick);
        let few: Vec<Case> = cases
            .into_iter()
            .filter(|case| case.reason.is_none() || case.name.starts_with("l2-dsr/"))
            .collect();
        let samples = few.iter().map(|_| vec![20.0; 3]).collect();
        let bars = Costs::new(&few, &samples).bars();
        assert_eq!(bars.len(), RATIOS.len() + DIFFERENCES.len());
        let open: Vec<_> = bars.iter().filter(|bar| bar.value.is_none()).collect();
        assert!(open.iter().any(|bar| bar.name.starts_with("gue-dsr")));
        assert!(
            open.iter()
                .all(|bar| !bar.holds && bar.verdict() == "not measured")
        );
        assert!(bars[0].value.is_some(), "l2-dsr was measured");
    }

    #[test]
    fn each_family_is_net_of_its_own_wrapper() {
        let cases = cases(Effort::Quick);
        let own = |case: &Case| if case.ipv6 { 17.0 } else { 11.0 };
        let sample = |case: &Case| match case.program {
            Program::Bare(_) => 6.0,
            _ if case.name.starts_with("wrapper/") => own(case),
            _ => own(case) + 5.0,
        };
        let samples = cases.iter().map(|case| vec![sample(case); 3]).collect();
        let costs = Costs::new(&cases, &samples);
        for case in &cases {
            let expected = match case.program {
                Program::Bare(_) => 6.0,
                _ if case.name.starts_with("wrapper/") => 0.0,
                _ => 5.0,
            };
            assert_eq!(costs.net(&case.name).median, expected, "{}", case.name);
        }
    }
}
