//! The active node of a pair dies, and hands over, while clients talk through it.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use forwarder_lab::client::chatter::Chatter;
use forwarder_lab::client::download::Download;
use forwarder_lab::client::probe::{Outage, Probes};
use forwarder_lab::nodes::{DEVICES, NODES};
use forwarder_lab::pinned::{DIRECT, NAT};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Nodes, wait_until};
use serde::Serialize;

/// The modes that are shown, with the last number of their VIPs.
pub const MODES: [(&str, u8); 2] = [("l2-dsr", DIRECT), ("full-nat", NAT)];
/// Chatty connections through each, and the pause between two requests on one.
const CONNECTIONS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How the nodes watch each other.
pub const INTERVAL: Duration = Duration::from_millis(50);
pub const MULTIPLIER: u32 = 3;
/// What is shown: from so long before the fault, in columns of so long.
pub const STEP: Duration = Duration::from_millis(10);
pub const COLUMNS: u32 = 60;
pub const BEFORE: u32 = 8;
const LIMIT: Duration = Duration::from_secs(30);

/// What happens to the active node.
#[derive(Clone, Copy)]
enum Fault {
    Kill,
    SilentDeath,
    HandOver,
}

/// What a fault did, as it is in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Failover {
    pub fault: &'static str,
    pub gap_ms: u64,
    pub lost: u64,
    pub resets: u64,
    /// That went on, downloads among them.
    pub connections: usize,
    /// That there were.
    #[serde(skip)]
    pub of: usize,
    /// What was done, for people.
    #[serde(skip)]
    pub what: String,
    /// How many of a hundred datagrams were answered, by mode and column.
    #[serde(skip)]
    pub shares: Vec<Vec<Option<u32>>>,
    /// Bytes that the downloads got while it happened.
    #[serde(skip)]
    pub downloaded: u64,
}

impl Failover {
    /// Whether every connection lived on. Gaps and losses are shown, not judged: the machine may be busy.
    pub fn ok(&self) -> bool {
        self.connections == self.of && self.resets == 0
    }
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::SilentDeath => "silent-death",
            Self::HandOver => "hand-over",
        }
    }
}

/// Two nodes, and clients that never fall silent. Dropped in this order.
pub struct Pair {
    downloads: Vec<Download>,
    chatter: Chatter,
    probes: Probes,
    nodes: Nodes,
    config: String,
}

impl Pair {
    /// Starts both nodes, a download and chatty connections through each mode, and numbered datagrams.
    pub fn start(binary: &Path) -> Result<Self> {
        let mut nodes = Nodes::new(binary)?;
        let config = nodes.config(INTERVAL, MULTIPLIER);
        for node in 0..2 {
            nodes.start(node, &config)?;
        }
        let active = nodes.active()?;
        nodes.wait_until_ready(active)?;
        let at = |vip, port| SocketAddr::new(Family::V4.vip(vip), port);
        let client = &nodes.site.client;
        let talk = MODES.map(|(_, vip)| (at(vip, HTTP), CONNECTIONS));
        let downloads = MODES.map(|(_, vip)| Download::start(client, at(vip, HTTP)));
        Ok(Self {
            downloads: downloads.into_iter().collect::<Result<_>>()?,
            chatter: Chatter::start(client, &talk, PAUSE)?,
            probes: Probes::start(client, &MODES.map(|(_, vip)| at(vip, ECHO)))?,
            nodes,
            config,
        })
    }

    /// Lets it happen, one after the other, and hands each result to `shown`.
    pub fn play(&mut self, mut shown: impl FnMut(&Failover)) -> Result<Vec<Failover>> {
        let mut all = Vec::new();
        for fault in [Fault::Kill, Fault::SilentDeath, Fault::HandOver] {
            let result = self.happen(fault)?;
            shown(&result);
            all.push(result);
        }
        Ok(all)
    }

    fn happen(&mut self, fault: Fault) -> Result<Failover> {
        let active = self.nodes.active()?;
        self.nodes.wait_until_ready(active)?;
        self.chatter.renew();
        self.flow(Instant::now())?;
        let before = self.received();
        let begin = Instant::now();
        let what = self.inject(fault, active)?;
        // Nobody takes CPU time from the nodes by looking at them.
        thread::sleep(STEP * (COLUMNS - BEFORE));
        self.nodes.wait_for_active(1 - active)?;
        self.flow(Instant::now())?;
        let (after, end) = (self.received(), Instant::now());
        // Answers to the last datagrams.
        thread::sleep(Duration::from_millis(100));
        let outage = Outage::of_all(&self.probes.between(begin, end));
        let from = begin.checked_sub(STEP * BEFORE).context("a time")?;
        let shares = (0..MODES.len()).map(|mode| self.probes.shares(mode, from, STEP, COLUMNS));
        let talk = self.chatter.talk();
        let downloads = self.downloads.iter();
        let moved = before.iter().zip(&after);
        let live = downloads.filter(|download| download.broken().is_none());
        let live = live
            .count()
            .min(moved.clone().filter(|(a, b)| a < b).count());
        let result = Failover {
            fault: fault.name(),
            gap_ms: outage.gap.as_millis() as u64,
            lost: outage.lost,
            resets: talk.resets,
            connections: talk.connections - talk.waiting + live,
            of: MODES.len() * (CONNECTIONS + 1),
            what,
            shares: shares.collect(),
            downloaded: moved.map(|(a, b)| b - a).sum(),
        };
        self.restore(fault, active)?;
        Ok(result)
    }

    fn inject(&mut self, fault: Fault, node: usize) -> Result<String> {
        let name = NODES[node];
        Ok(match fault {
            Fault::Kill => {
                let id = self.nodes.running(node)?.id();
                self.nodes.kill(node);
                format!("kill -9 {id}: the daemon of {name} is gone; its programs stay attached")
            }
            Fault::SilentDeath => {
                self.cut(node, true)?;
                format!(
                    "every cable of {name} is cut in the middle: silence, and no link goes down"
                )
            }
            Fault::HandOver => {
                self.nodes.command(node, &["failover"])?;
                format!("forwarder failover, on {name}")
            }
        })
    }

    fn restore(&mut self, fault: Fault, node: usize) -> Result<()> {
        match fault {
            Fault::Kill => self.nodes.start(node, &self.config),
            Fault::SilentDeath => {
                // What was dead comes back with no lease.
                self.nodes.kill(node);
                thread::sleep(INTERVAL * MULTIPLIER * 2);
                self.cut(node, false)?;
                self.nodes.start(node, &self.config)
            }
            Fault::HandOver => Ok(()),
        }
    }

    fn cut(&self, node: usize, cut: bool) -> Result<()> {
        let ends = DEVICES.map(|device| (self.nodes.host(node), device));
        self.nodes.site.cut(&ends, cut)
    }

    /// Waits until datagrams, connections and downloads go on; connections and downloads that don't are seen
    /// in the result.
    fn flow(&self, since: Instant) -> Result<()> {
        wait_until("datagrams are answered", LIMIT, || {
            self.probes.flow_since(since, 100)
        })
        .with_context(|| self.nodes.diagnosis())?;
        // Each connection has had its turn to ask by then.
        thread::sleep(PAUSE * 2);
        let before = self.received();
        let all = || {
            let received = self.received();
            let mut moved = before.iter().zip(&received);
            moved.all(|(a, b)| a < b) && self.chatter.talk().silent < PAUSE
        };
        let _ = wait_until("connections go on", Duration::from_secs(8), all);
        Ok(())
    }

    fn received(&self) -> Vec<u64> {
        self.downloads.iter().map(Download::received).collect()
    }

    /// The network.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }
}
