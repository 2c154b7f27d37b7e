//! What `bench wire` measured.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Report, rounded, shown};
use crate::bench::Effort;
use crate::bench::bars::{self, Promise};
use crate::bench::measure::rounds;
use crate::bench::statistic::Spread;
use crate::bench::wire::{DIRECT, DROP, GENERATOR};

/// What a chain costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// What is in the middle, family, number of flows.
    pub name: String,
    /// CPU time per packet from making it to counting it, nanoseconds: T.
    pub whole: Spread,
    /// The same less that of making it, T−G: getting to the first device, forwarding, the next device, counting.
    #[serde(default)]
    pub without_generator: Spread,
    /// The same less that of a chain whose first device drops everything: what forwarding costs. 0 where nothing is
    /// forwarded.
    pub net: Spread,
    /// Million packets per second that one CPU receives and forwards if it does nothing else, by T−G; 0 where nothing
    /// is forwarded.
    pub mpps: f64,
}

/// What a connection costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// What is in the middle.
    pub name: String,
    /// CPU time of a connection with one request, client and server with it, nanoseconds.
    pub whole: Spread,
    /// The same less that over a direct link.
    pub net: Spread,
    /// CPU time of one more request, less that over a direct link, nanoseconds.
    pub request: Spread,
    /// Connections per second that one CPU does, client and server with it.
    pub per_second: f64,
}

/// Costs of a chain, round by round.
pub struct Sample {
    /// The name.
    pub name: String,
    /// Family.
    pub ipv6: bool,
    /// Nanoseconds.
    pub costs: Vec<f64>,
}

type Ways = Vec<(String, Vec<[f64; 2]>)>;

/// A ratio of costs, and its bound.
struct Ratio {
    promise: Promise,
    above: &'static str,
    below: &'static str,
}

/// Less the generator.
const PACKETS: [Ratio; 3] = [
    Ratio {
        promise: Promise::at_most("wire: l2-dsr by TX ÷ MAC swap, XDP_TX, T−G", 1.15),
        above: "l2-dsr+tx",
        below: "mac-swap",
    },
    Ratio {
        promise: Promise::at_least("wire: kernel routing ÷ l2-dsr, T−G", 4.5),
        above: "kernel-routing",
        below: "l2-dsr",
    },
    Ratio {
        promise: Promise::at_least("wire: nft DNAT and SNAT ÷ full-nat, T−G", 9.0),
        above: "nft-dnat-snat",
        below: "full-nat",
    },
];
/// Net of a direct link.
const CONNECTIONS: [Ratio; 2] = [
    Ratio {
        promise: Promise::at_most("CPU per TCP connection: l2-dsr ÷ nft DNAT", 0.25),
        above: "l2-dsr",
        below: "nft-dnat",
    },
    Ratio {
        promise: Promise::at_most("CPU per TCP connection: full-nat ÷ nft DNAT and SNAT", 0.55),
        above: "full-nat",
        below: "nft-dnat-snat",
    },
];

/// What is promised of whole chains.
pub fn promises() -> impl Iterator<Item = Promise> {
    PACKETS
        .iter()
        .chain(&CONNECTIONS)
        .map(|ratio| ratio.promise)
}

/// Sums the samples up.
pub fn wire(
    samples: Vec<Sample>,
    ways: Ways,
    missing: Vec<String>,
    effort: Effort,
    config: String,
) -> Report {
    // Less what another chain takes that has the same family and flows. Making a packet takes the same for any number.
    let without = |what: &str, sample: &Sample| -> Vec<f64> {
        let flows = |name: &str| name.rsplit('/').next().map(str::to_owned);
        let is = |other: &&Sample| {
            other.ipv6 == sample.ipv6
                && other.name.starts_with(what)
                && (what == GENERATOR || flows(&other.name) == flows(&sample.name))
        };
        match samples.iter().find(is) {
            Some(other) => less(&sample.costs, &other.costs),
            None => Vec::new(),
        }
    };
    let forwarded = |sample: &Sample| {
        let forwards = ![GENERATOR, DROP]
            .iter()
            .any(|what| sample.name.starts_with(what));
        let made = Spread::of(without(GENERATOR, sample).into_iter());
        Forwarded {
            name: sample.name.clone(),
            whole: spread(&sample.costs),
            without_generator: shown(made),
            net: match forwards {
                true => spread(&without(DROP, sample)),
                false => Spread::default(),
            },
            mpps: match forwards && made.median > 0.0 {
                true => rounded(1_000.0 / made.median),
                false => 0.0,
            },
        }
    };
    let column =
        |costs: &[[f64; 2]], at: usize| -> Vec<f64> { costs.iter().map(|cost| cost[at]).collect() };
    let direct = ways.iter().find(|(name, _)| name == DIRECT);
    let net_of_direct = |costs: &[[f64; 2]], at: usize| match direct {
        Some((_, direct)) => less(&column(costs, at), &column(direct, at)),
        None => Vec::new(),
    };
    let connected = |(name, costs): &(String, Vec<[f64; 2]>)| {
        let whole = spread(&column(costs, 0));
        Connected {
            name: name.clone(),
            whole,
            net: spread(&net_of_direct(costs, 0)),
            request: spread(&net_of_direct(costs, 1)),
            per_second: (1e9 / whole.median.max(1.0)).round(),
        }
    };
    let chain = |what: &str, name: &str| {
        let is = |sample: &&Sample| {
            let mut parts = sample.name.split('/');
            (parts.next(), parts.next()) == (Some(name), Some("ipv4"))
                && !matches!(parts.next(), Some("1" | "100k"))
        };
        samples
            .iter()
            .find(is)
            .map(|sample| without(what, sample))
            .filter(|costs| !costs.is_empty())
    };
    let way = |name: &str| {
        let way = ways.iter().find(|(way, _)| way == name);
        way.map(|(_, costs)| net_of_direct(costs, 0))
    };
    let packets = PACKETS.iter().filter_map(|each| {
        let mut bar = each
            .promise
            .held(ratio(each, |name| chain(GENERATOR, name))?);
        let net = ratio(each, |name| chain(DROP, name))?;
        bar.note = Some(format!(
            "{:.2} ± {:.2} net of the drop chain",
            net.median, net.mad
        ));
        Some(bar)
    });
    let connections = CONNECTIONS
        .iter()
        .filter_map(|each| Some(each.promise.held(ratio(each, way)?)));
    let bars = packets.chain(connections).collect();
    Report {
        bars: bars::complete(bars, promises()),
        chains: samples.iter().map(forwarded).collect(),
        connections: ways.iter().map(connected).collect(),
        missing,
        ..Report::here(rounds(effort), config)
    }
}

fn less(costs: &[f64], others: &[f64]) -> Vec<f64> {
    costs
        .iter()
        .zip(others)
        .map(|(cost, other)| cost - other)
        .collect()
}

fn spread(values: &[f64]) -> Spread {
    shown(Spread::of(values.iter().copied()))
}

fn ratio(ratio: &Ratio, costs: impl Fn(&str) -> Option<Vec<f64>>) -> Option<Spread> {
    let (above, below) = (costs(ratio.above)?, costs(ratio.below)?);
    let values = above.iter().zip(&below).map(|(above, below)| above / below);
    Some(Spread::of(values.filter(|value| value.is_finite())))
}

/// Tables of it.
pub fn markdown(text: &mut String, report: &Report) {
    if !report.chains.is_empty() {
        text.push_str("\n| packets: what is in the middle | + forwarder, ns | T−G, ns | whole chain, ns | Mpps per CPU |\n|---|---:|---:|---:|---:|\n");
    }
    for chain in &report.chains {
        let _ = writeln!(
            text,
            "| {} | {:.0} ± {:.0} | {:.0} ± {:.0} | {:.0} ± {:.0} | {:.2} |",
            chain.name,
            chain.net.median,
            chain.net.mad,
            chain.without_generator.median,
            chain.without_generator.mad,
            chain.whole.median,
            chain.whole.mad,
            chain.mpps
        );
    }
    if !report.connections.is_empty() {
        text.push_str(
            "\n| TCP connections: what is in the middle | µs each, net of a direct link | whole, µs | one more request, net, µs | per second and CPU |\n\
             |---|---:|---:|---:|---:|\n",
        );
    }
    for way in &report.connections {
        let _ = writeln!(
            text,
            "| {} | {:.1} ± {:.1} | {:.1} ± {:.1} | {:.1} ± {:.1} | {:.0} |",
            way.name,
            way.net.median / 1e3,
            way.net.mad / 1e3,
            way.whole.median / 1e3,
            way.whole.mad / 1e3,
            way.request.median / 1e3,
            way.request.mad / 1e3,
            way.per_second
        );
    }
    for missing in &report.missing {
        let _ = writeln!(text, "\nNot measured: {missing}.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, cost: f64) -> Sample {
        Sample {
            name: format!("{name}/ipv4/1k"),
            ipv6: false,
            costs: vec![cost - 1.0, cost, cost + 1.0],
        }
    }

    fn report(samples: &[(&str, f64)], ways: Ways) -> Report {
        let samples = samples.iter().map(|(name, cost)| sample(name, *cost));
        let missing = vec!["x".into()];
        wire(
            samples.collect(),
            ways,
            missing,
            Effort::Quick,
            String::new(),
        )
    }

    #[test]
    fn a_chain_is_split_into_making_getting_there_and_forwarding() {
        let samples = [
            ("generator", 80.0),
            ("drop", 100.0),
            ("mac-swap", 150.0),
            ("l2-dsr+tx", 160.0),
            ("l2-dsr", 160.0),
            ("kernel-routing", 400.0),
        ];
        let direct = ("direct".to_owned(), vec![[10_000.0, 2_000.0]; 3]);
        let dsr = ("l2-dsr".to_owned(), vec![[11_000.0, 2_500.0]; 3]);
        let nft = ("nft-dnat".to_owned(), vec![[15_000.0, 3_000.0]; 3]);
        let report = report(&samples, vec![direct, dsr, nft]);
        let split = |at: usize| {
            let chain: &Forwarded = &report.chains[at];
            [
                chain.whole.median,
                chain.without_generator.median,
                chain.net.median,
            ]
        };
        assert_eq!(split(0), [80.0, 0.0, 0.0]);
        assert_eq!(split(1), [100.0, 20.0, 0.0]);
        assert_eq!(split(2), [150.0, 70.0, 50.0]);
        assert_eq!(
            (report.chains[2].mpps, report.chains[1].mpps),
            (14.286, 0.0)
        );
        let bars: Vec<_> = report
            .bars
            .iter()
            .map(|bar| (bar.value, bar.holds))
            .collect();
        // 80 ÷ 70, 320 ÷ 80, not measured, 1 ÷ 5, not measured
        let (tx, routing) = ((Some(1.143), true), (Some(4.0), false));
        assert_eq!(
            bars,
            [tx, routing, (None, false), (Some(0.2), true), (None, false)]
        );
        assert!(report.bars[1].at_least);
        let note = report.bars[1].note.as_deref();
        assert_eq!(note, Some("5.00 ± 0.00 net of the drop chain"));
        assert_eq!(report.connections[1].request.median, 500.0);
        let text = report.markdown();
        assert!(text.contains("Not measured: x.") && text.contains("5.00 ± 0.00 net"));
    }

    #[test]
    fn nothing_is_subtracted_that_was_not_measured() {
        let report = report(&[("mac-swap", 150.0), ("l2-dsr+tx", 160.0)], Vec::new());
        assert!(report.bars.iter().all(|bar| bar.value.is_none()));
        assert_eq!(report.chains[0].mpps, 0.0);
    }
}
