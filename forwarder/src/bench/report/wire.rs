//! What `bench wire` measured.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Report, rounded, shown};
use crate::bench::Effort;
use crate::bench::bars::Bar;
use crate::bench::measure::rounds;
use crate::bench::statistic::Spread;
use crate::bench::wire::DIRECT;

/// What a chain costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// What is in the middle, family, number of flows.
    pub name: String,
    /// CPU time per packet from making it to counting it, nanoseconds.
    pub whole: Spread,
    /// The same less that of a chain whose first device drops everything: what forwarding costs. 0 where nothing is
    /// forwarded.
    pub net: Spread,
    /// Million packets per second that one CPU forwards if it does nothing else; 0 where nothing is forwarded.
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

/// A ratio of net costs, and its bound.
struct Ratio {
    name: &'static str,
    above: &'static str,
    below: &'static str,
    bound: f64,
    at_least: bool,
}

const PACKETS: &[Ratio] = &[
    Ratio {
        name: "wire: l2-dsr by TX ÷ MAC swap, XDP_TX",
        above: "l2-dsr+tx",
        below: "mac-swap",
        bound: 1.15,
        at_least: false,
    },
    Ratio {
        name: "wire: kernel routing ÷ l2-dsr",
        above: "kernel-routing",
        below: "l2-dsr",
        bound: 4.5,
        at_least: true,
    },
    Ratio {
        name: "wire: nft DNAT and SNAT ÷ full-nat",
        above: "nft-dnat-snat",
        below: "full-nat",
        bound: 9.0,
        at_least: true,
    },
];
const CONNECTIONS: &[Ratio] = &[
    Ratio {
        name: "CPU per TCP connection: l2-dsr ÷ nft DNAT",
        above: "l2-dsr",
        below: "nft-dnat",
        bound: 0.25,
        at_least: false,
    },
    Ratio {
        name: "CPU per TCP connection: full-nat ÷ nft DNAT and SNAT",
        above: "full-nat",
        below: "nft-dnat-snat",
        bound: 0.55,
        at_least: false,
    },
];

/// Sums the samples up.
pub fn wire(
    samples: Vec<Sample>,
    ways: Ways,
    missing: Vec<String>,
    effort: Effort,
    config: String,
) -> Report {
    let net = |sample: &Sample| -> Vec<f64> {
        let flows = sample.name.rsplit('/').next().unwrap_or_default();
        let is = |other: &&Sample| {
            other.ipv6 == sample.ipv6
                && other.name.starts_with("drop/")
                && other.name.ends_with(&format!("/{flows}"))
        };
        match samples.iter().find(is) {
            Some(drop) => less(&sample.costs, &drop.costs),
            None => Vec::new(),
        }
    };
    let forwarded = |sample: &Sample| {
        let forwards = !["generator/", "drop/"]
            .iter()
            .any(|what| sample.name.starts_with(what));
        let net = if forwards { net(sample) } else { Vec::new() };
        let net = Spread::of(net.into_iter());
        Forwarded {
            name: sample.name.clone(),
            whole: spread(&sample.costs),
            net: shown(net),
            mpps: if net.median > 0.0 {
                rounded(1_000.0 / net.median)
            } else {
                0.0
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
    let chain = |name: &str| {
        let is = |sample: &&Sample| {
            let mut parts = sample.name.split('/');
            (parts.next(), parts.next()) == (Some(name), Some("ipv4"))
                && !matches!(parts.next(), Some("1" | "100k"))
        };
        samples.iter().find(is).map(net)
    };
    let way = |name: &str| {
        let way = ways.iter().find(|(way, _)| way == name);
        way.map(|(_, costs)| net_of_direct(costs, 0))
    };
    let packets = PACKETS.iter().filter_map(|ratio| bar(ratio, chain));
    let connections = CONNECTIONS.iter().filter_map(|ratio| bar(ratio, way));
    Report {
        bars: packets.chain(connections).collect(),
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

fn bar(ratio: &Ratio, costs: impl Fn(&str) -> Option<Vec<f64>>) -> Option<Bar> {
    let (above, below) = (costs(ratio.above)?, costs(ratio.below)?);
    let values = above.iter().zip(&below).map(|(above, below)| above / below);
    let spread = Spread::of(values.filter(|value| value.is_finite()));
    Some(Bar::new(ratio.name, spread, ratio.bound, ratio.at_least))
}

/// Tables of it.
pub fn markdown(text: &mut String, report: &Report) {
    if !report.chains.is_empty() {
        text.push_str("\n| packets: what is in the middle | forwarding, ns | whole chain, ns | Mpps per CPU |\n|---|---:|---:|---:|\n");
    }
    for chain in &report.chains {
        let _ = writeln!(
            text,
            "| {} | {:.0} ± {:.0} | {:.0} ± {:.0} | {:.2} |",
            chain.name,
            chain.net.median,
            chain.net.mad,
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

    #[test]
    fn forwarding_is_net_of_a_chain_that_drops() {
        let samples = [
            ("drop", 100.0),
            ("mac-swap", 150.0),
            ("l2-dsr+tx", 160.0),
            ("l2-dsr", 160.0),
            ("kernel-routing", 400.0),
        ];
        let samples = samples.map(|(name, cost)| sample(name, cost)).into();
        let direct = ("direct".to_owned(), vec![[10_000.0, 2_000.0]; 3]);
        let dsr = ("l2-dsr".to_owned(), vec![[11_000.0, 2_500.0]; 3]);
        let nft = ("nft-dnat".to_owned(), vec![[15_000.0, 3_000.0]; 3]);
        let report = wire(
            samples,
            vec![direct, dsr, nft],
            vec!["x".into()],
            Effort::Quick,
            String::new(),
        );
        assert_eq!(report.chains[2].net.median, 60.0);
        assert_eq!(report.chains[1].mpps, 20.0);
        let bars: Vec<_> = report
            .bars
            .iter()
            .map(|bar| (bar.value, bar.holds))
            .collect();
        assert_eq!(bars, [(1.2, false), (5.0, true), (0.2, true)]);
        assert!(report.bars[1].at_least);
        assert_eq!(report.connections[1].request.median, 500.0);
        assert!(report.markdown().contains("Not measured: x."));
    }
}
