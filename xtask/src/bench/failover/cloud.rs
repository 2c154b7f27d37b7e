//! What a takeover takes where calls of a cloud's API move the addresses: in a simulated one, whose calls take as
//! long as they are told to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use forwarder_lab::client::probe::Probes;
use forwarder_lab::cloud::{API, Bucket, Cloud, eni};
use forwarder_lab::nodes::{DEVICES, NODES};
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Nodes, is_interrupted, wait_until};
use serde::Serialize;
use serde_json::Value;

use super::Timing;
use super::report::Spread;

/// Of each call.
const LATENCY: Duration = Duration::from_millis(100);
/// Datagrams in a row that were answered.
const ROW: usize = 100;
/// Nothing takes longer unless it is broken.
const LIMIT: Duration = Duration::from_secs(180);
/// What is asked for, milliseconds.
const BAR: f64 = 1_000.0;

/// What moves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Secondary private addresses of one network interface, and what NAT takes for the source at another.
    Private,
    /// Elastic IP addresses between private addresses of the nodes.
    Elastic,
    /// The same where calls are limited.
    Limited,
    /// An Elastic IP address, and the backends' default route, which their answers take.
    Routed,
}

/// Calls of an action that a limited API takes at once, and then in a second.
const BUCKET: (u32, u32) = (50, 5);

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Private => "private addresses",
            Self::Elastic => "Elastic IPs",
            Self::Limited => "Elastic IPs, API limited",
            Self::Routed => "Elastic IP + default route",
        }
    }
}

const CASES: [(Kind, u8); 8] = [
    (Kind::Private, 1),
    (Kind::Private, 25),
    (Kind::Private, 200),
    (Kind::Elastic, 1),
    (Kind::Elastic, 25),
    (Kind::Elastic, 200),
    (Kind::Routed, 1),
    (Kind::Limited, 200),
];

/// A kind and a number of addresses.
#[derive(Serialize)]
pub struct Row {
    moves: &'static str,
    addresses: u8,
    settings: String,
    api_latency_ms: u128,
    /// Of an action, at once and in a second; `None`: as many as anybody likes.
    api_limit: Option<(u32, u32)>,
    /// That could be measured.
    rounds: usize,
    /// From the peer's last answer until it counted as lost.
    detect_ms: Spread,
    /// Until it was decided.
    decide_ms: Spread,
    /// Until the data plane knew, and had announced it.
    data_plane_ms: Spread,
    /// At the API: from the first call's coming to the last one's answer.
    api_ms: Spread,
    /// From the first call until everything was seen here.
    confirmed_ms: Spread,
    /// The longest time in which nobody answered for the first address, and for the last.
    first_gap_ms: Spread,
    last_gap_ms: Spread,
    /// Calls that move something, of all rounds, and those of them that were refused.
    calls: usize,
    refused: usize,
    load_average: f64,
    bar_ms: Option<f64>,
    holds: bool,
}

struct Round {
    detect: Duration,
    decide: Duration,
    data_plane: Duration,
    api: Duration,
    confirmed: Duration,
    gaps: [Duration; 2],
    calls: usize,
    refused: usize,
}

/// Dropped in this order.
struct World {
    probes: Probes,
    cloud: Cloud,
    nodes: Nodes,
    config: String,
}

/// Measures every kind.
pub fn measure(binary: &Path, timing: Timing, rounds: u32) -> Result<Vec<Row>> {
    header();
    let mut rows = Vec::new();
    for (kind, count) in CASES {
        let mut world = World::new(binary, timing, kind, count)?;
        let mut done = Vec::new();
        // A limited API's bucket fills slowly.
        let rounds = if kind == Kind::Limited {
            rounds.min(2)
        } else {
            rounds
        };
        for number in 1..=rounds {
            match world.round(kind) {
                Ok(round) => done.push(round),
                Err(error) if is_interrupted() => return Err(error),
                Err(error) => {
                    eprintln!("{} {count}, round {number}: {error:#}", kind.name());
                    break;
                }
            }
        }
        let row = Row::new(kind, count, timing, rounds, &done);
        row.print();
        rows.push(row);
    }
    Ok(rows)
}

/// The address of a virtual server at a node; of the outside subnet where datagrams are sent to.
fn private(kind: Kind, count: u8, index: u8, node: u8) -> IpAddr {
    let last = index + 1 == count;
    match (kind, index) {
        (Kind::Private, _) => Family::V4.vip(20 + index),
        (_, 0) => Family::V4.vip(20 + node),
        _ if last => Family::V4.vip(22 + node),
        _ => Ipv4Addr::new(10, 7 + node, 0, index).into(),
    }
}

fn public(index: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 0, index).into()
}

impl World {
    fn new(binary: &Path, timing: Timing, kind: Kind, count: u8) -> Result<Self> {
        let mut nodes = Nodes::new(binary)?;
        let at = |index| private(kind, count, index, 0);
        let floating = Family::V4.backend(30);
        let mut moving = vec![(1, floating)];
        let (mut things, mut servers) = (String::new(), String::new());
        match kind {
            Kind::Private => {
                moving.extend((0..count).map(|index| (0, at(index))));
                let list: Vec<_> = (0..count)
                    .map(|index| format!("\"{}\"", at(index)))
                    .collect();
                things += &format!(
                    "address = [{{ interface = \"outside\", private = [{}] }}, {{ interface = \"inside\", private = \"{floating}\" }}]",
                    list.join(", ")
                );
            }
            Kind::Elastic | Kind::Limited | Kind::Routed => {
                moving.clear();
                let list: Vec<_> = (0..count)
                    .map(|index| {
                        let [one, other] = [0, 1].map(|node| private(kind, count, index, node));
                        format!(
                            "{{ public = \"{}\", interface = \"outside\", private = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}",
                            public(index)
                        )
                    })
                    .collect();
                things += &format!("elastic_ip = [{}]", list.join(", "));
                if kind == Kind::Routed {
                    things += ", route = [{ table = \"rtb-1\", destination = \"0.0.0.0/0\", interface = \"inside\" }]";
                }
            }
        }
        let mut cloud = Cloud::with(&nodes, &moving)?;
        let mode = match kind {
            Kind::Routed => "mode = \"dnat\"\n",
            _ => "mode = \"full-nat\"\nsnat = \"automap\"\n",
        };
        if kind == Kind::Routed {
            cloud.route(&nodes, "0.0.0.0/0", 1)?;
        }
        for index in 0..count {
            let [one, other] = [0, 1].map(|node| private(kind, count, index, node));
            servers += &format!(
                "[[virtual_server]]\nname = \"cloud-{index}\"\naddress = {{ lb1 = \"{one}\", lb2 = \"{other}\" }}\n\
                 port = {ECHO}\nprotocol = \"udp\"\npool = \"ipv4\"\n{mode}"
            );
            if kind == Kind::Private {
                continue;
            }
            cloud.change(|things| {
                for (node, address) in [one, other].into_iter().enumerate() {
                    let interface = things.interfaces.get_mut(&eni(node, 0));
                    interface
                        .into_iter()
                        .for_each(|each| each.primary.push(address));
                }
            })?;
            if index == 0 || index + 1 == count {
                cloud.elastic_ip(&nodes, public(index), ("use", "bench"), one)?;
            } else {
                cloud.allocate(public(index), ("use", "bench"), one);
            }
        }
        {
            let mut state = cloud.state();
            state.latency = LATENCY;
            let interfaces = state.things.interfaces.values_mut();
            interfaces.for_each(|each| each.limit = 1_000);
        }
        let head = format!("version = 1\ncloud = {{ endpoint = \"http://{API}\", {things} }}\n");
        let config = nodes.config(timing.interval, timing.multiplier);
        let config = config.replacen("version = 1\n", &head, 1) + &servers;
        nodes.start_both(&config)?;
        let ends = [0, count - 1].map(|index| match kind {
            Kind::Private => at(index),
            Kind::Elastic | Kind::Limited | Kind::Routed => public(index),
        });
        let ends = ends.map(|address| SocketAddr::new(address, ECHO));
        let probes = Probes::start(&nodes.site.client, &ends)?;
        Ok(Self {
            probes,
            cloud,
            nodes,
            config,
        })
    }

    fn round(&mut self, kind: Kind) -> Result<Round> {
        let active = self.nodes.active()?;
        self.nodes.wait_until_ready(active)?;
        self.confirmed(active, 0)?;
        self.flows()?;
        let next = 1 - active;
        let lines = self.journal(next).len();
        if kind == Kind::Limited {
            let (size, refill) = BUCKET;
            self.cloud.state().bucket = Some(Bucket::new(size, refill));
        }
        let (before, begin) = (self.cloud.called().len(), Instant::now());
        self.cut(active, true)?;
        self.nodes.kill(active);
        // What looks at the nodes takes CPU time from them.
        thread::sleep(Duration::from_secs(1));
        self.nodes.wait_for_active(next)?;
        let end = self.confirmed(next, lines)?;
        self.flows()?;
        let gaps = self.probes.between(begin, Instant::now());
        let called = self.cloud.called();
        let own: Vec<_> = called[before..]
            .iter()
            .filter(|call| call.node == next)
            .collect();
        let first = own
            .iter()
            .map(|call| call.time.0)
            .min()
            .context("no call")?;
        let done = own.iter().filter(|call| call.refused.is_none());
        let last = done
            .map(|call| call.time.1)
            .max()
            .context("no call is done")?;
        let latest = self.nodes.pair(next)["groups"][0]["latest"]["microseconds"].take();
        let phase = |name: &str| Duration::from_micros(latest[name].as_u64().unwrap_or(0));
        let confirmed = end["confirmed_milliseconds"].as_f64().unwrap_or(0.0);
        let round = Round {
            detect: phase("detection"),
            decide: phase("decision"),
            data_plane: phase("lease") + phase("announcement"),
            api: last - first,
            confirmed: Duration::from_secs_f64(confirmed / 1e3),
            gaps: [gaps[0].gap, gaps[1].gap],
            calls: own.len(),
            refused: own.iter().filter(|call| call.refused.is_some()).count(),
        };
        self.cloud.state().bucket = None;
        self.cut(active, false)?;
        self.nodes.restore_routes(active)?;
        self.nodes.start(active, &self.config)?;
        Ok(round)
    }

    fn cut(&self, node: usize, cut: bool) -> Result<()> {
        let host = self.nodes.host(node);
        self.nodes
            .site
            .cut(&DEVICES.map(|device| (host, device)), cut)
    }

    fn flows(&self) -> Result<()> {
        let since = Instant::now();
        wait_until("datagrams are answered", LIMIT, || {
            self.probes.flow_since(since, ROW)
        })
        .with_context(|| self.nodes.diagnosis())
    }

    /// Waits until a node has written after so many lines that everything is seen there: that line.
    fn confirmed(&self, node: usize, after: usize) -> Result<Value> {
        let mut found = Value::Null;
        wait_until("everything has moved", LIMIT, || {
            let lines = self.journal(node).into_iter().skip(after);
            let mut ends = lines.filter(|line| line["confirmed_milliseconds"].is_number());
            found = ends.next().unwrap_or_default();
            !found.is_null()
        })
        .with_context(|| self.nodes.diagnosis())?;
        Ok(found)
    }

    fn journal(&self, node: usize) -> Vec<Value> {
        let directory = self.nodes.site.directory().join(NODES[node]);
        let text = fs::read_to_string(directory.join("cloud.journal")).unwrap_or_default();
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

fn header() {
    println!(
        "addresses moved by an API whose calls take {LATENCY:?}; ms, median and longest; gap: nobody answers for the first and for the last address"
    );
    println!(
        "{:26} {:>4} {:>6} {:>13} {:>11} {:>11} {:>15} {:>15} {:>15} {:>15} {:>6} {:>7}",
        "moves",
        "n",
        "rounds",
        "detect",
        "decide",
        "data plane",
        "API",
        "seen there",
        "first gap",
        "last gap",
        "calls",
        "refused"
    );
}

impl Row {
    fn new(kind: Kind, count: u8, timing: Timing, wanted: u32, rounds: &[Round]) -> Self {
        let spread =
            |of: fn(&Round) -> Duration| Spread::new(&rounds.iter().map(of).collect::<Vec<_>>());
        let limited = kind == Kind::Limited;
        let mut row = Self {
            moves: kind.name(),
            addresses: count,
            settings: timing.name(),
            api_latency_ms: LATENCY.as_millis(),
            api_limit: limited.then_some(BUCKET),
            rounds: rounds.len(),
            detect_ms: spread(|round| round.detect),
            decide_ms: spread(|round| round.decide),
            data_plane_ms: spread(|round| round.data_plane),
            api_ms: spread(|round| round.api),
            confirmed_ms: spread(|round| round.confirmed),
            first_gap_ms: spread(|round| round.gaps[0]),
            last_gap_ms: spread(|round| round.gaps[1]),
            calls: rounds.iter().map(|round| round.calls).sum(),
            refused: rounds.iter().map(|round| round.refused).sum(),
            load_average: super::sync::load_average(),
            bar_ms: (!limited).then_some(BAR),
            holds: false,
        };
        let longest = row.first_gap_ms.max.max(row.last_gap_ms.max);
        row.holds = row.rounds == wanted as usize && row.bar_ms.is_none_or(|bar| longest <= bar);
        row
    }

    pub fn holds(&self) -> bool {
        self.holds
    }

    fn print(&self) {
        let both = |spread: Spread| format!("{:.1} {:.1}", spread.median, spread.max);
        println!(
            "{:26} {:>4} {:>6} {:>13} {:>11} {:>11} {:>15} {:>15} {:>15} {:>15} {:>6} {:>7}  {}",
            self.moves,
            self.addresses,
            self.rounds,
            both(self.detect_ms),
            both(self.decide_ms),
            both(self.data_plane_ms),
            both(self.api_ms),
            both(self.confirmed_ms),
            both(self.first_gap_ms),
            both(self.last_gap_ms),
            self.calls,
            self.refused,
            match (self.bar_ms, self.holds) {
                (None, true) => "no bar".to_owned(),
                (Some(bar), true) => format!("gap <= {bar} ms  holds"),
                _ => "DOES NOT HOLD".to_owned(),
            },
        );
    }
}
