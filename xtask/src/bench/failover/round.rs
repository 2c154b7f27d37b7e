//! The pair under load, and what a fault does to the load.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use forwarder_lab::client::arp::Watch;
use forwarder_lab::client::chatter::Chatter;
use forwarder_lab::client::probe::{Outage, Probes};
use forwarder_lab::pinned::{DIRECT, NAT};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Nodes, is_interrupted, wait_until};

use super::Timing;
use super::calm::{self, Calm, Trouble, Window};
use super::fault::Fault;
use super::pair::{Forwarders, Pair};

/// A mode, the last number of its VIP, and connections through it.
pub type Mode = (&'static str, u8, usize);

/// The modes of the forwarder.
pub const MODES: [Mode; 2] = [("full-nat", NAT, 300), ("l2-dsr", DIRECT, 100)];
/// Between two requests on each.
const PAUSE: Duration = Duration::from_millis(250);
/// An answer that takes no longer than this came at once.
const AT_ONCE: Duration = Duration::from_millis(150);
/// After so long without an answer a connection is given up.
const PATIENCE: Duration = Duration::from_secs(8);
/// Nothing here takes that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);
/// Answered datagrams in a row that show that all flows.
const ROW: usize = 100;

/// What a round has shown.
#[derive(Clone, Debug)]
pub struct Round {
    /// From the fault until the other node had taken over; through each mode.
    pub fault: Vec<Outage>,
    /// The same while what was broken came back.
    pub afterwards: Vec<Outage>,
    pub resets: u64,
    pub broken: u64,
    /// Questions that both nodes answered, other than during a partition.
    pub twice: usize,
    /// The longest that a connection waited for an answer that came.
    pub stalled: Duration,
}

/// Dropped in this order.
pub struct World<P = Forwarders> {
    load: Option<Load>,
    pair: P,
}

struct Load {
    probes: Probes,
    chatter: Chatter,
    watch: Watch,
}

impl World {
    /// The network, without daemons.
    pub fn new(binary: &Path) -> Result<Self> {
        Ok(Self {
            load: None,
            pair: Forwarders::new(binary)?,
        })
    }

    /// Starts the pair with this timing, and the load.
    pub fn start(&mut self, timing: Timing) -> Result<()> {
        self.load = None;
        self.pair.set(timing);
        self.pair.start_again()?;
        self.load_again()
    }

    /// Ends the load.
    pub fn rest(&mut self) {
        self.load = None;
    }

    /// Disturbs the pair so often in a way that is no reason to fail over; why a window could not be measured
    /// is shown.
    pub fn calm(&mut self, trouble: Trouble, time: Duration, count: u32) -> Result<Calm> {
        let mut windows = Vec::new();
        for number in 1..=count {
            match self.window(trouble, time) {
                Ok(window) => windows.push(window),
                Err(error) if is_interrupted() => return Err(error),
                Err(error) => {
                    eprintln!("{}, window {number}: {error:#}", trouble.name());
                    calm::mend(self.nodes())?;
                    self.pair.start_again()?;
                }
            }
        }
        Ok(Calm::new(trouble, self.pair.timing, time, count, &windows))
    }

    fn window(&mut self, trouble: Trouble, time: Duration) -> Result<Window> {
        self.active()?;
        self.load()?.chatter.renew();
        self.quiet(Instant::now())?;
        let begin = Instant::now();
        let (false_failovers, named) = trouble.last(self.nodes(), time)?;
        let end = Instant::now();
        self.quiet(end)?;
        let load = self.load()?;
        let talk = load.chatter.talk();
        Ok(Window {
            false_failovers,
            named,
            outage: Outage::of_all(&load.probes.between(begin, end)),
            broken: talk.resets + talk.broken + talk.waiting as u64,
        })
    }
}

impl<P: Pair> World<P> {
    /// Starts this pair, and the load.
    pub fn with(mut pair: P) -> Result<Self> {
        pair.start_again()?;
        let mut world = Self { load: None, pair };
        world.load_again()?;
        Ok(world)
    }

    /// Starts the load again.
    pub fn load_again(&mut self) -> Result<()> {
        self.load = Some(Load::start(&self.pair)?);
        Ok(())
    }

    /// The network.
    pub fn nodes(&self) -> &Nodes {
        self.pair.nodes()
    }

    /// Waits until the pair is well: one node active, the other ready. Which is active.
    pub fn active(&self) -> Result<usize> {
        self.pair.active()
    }

    /// The rounds of a fault that could be measured; why one could not is shown.
    pub fn rounds(&mut self, fault: Fault, count: u32) -> Result<Vec<Round>> {
        let mut rounds = Vec::new();
        for number in 1..=count {
            match self.round(fault) {
                Ok(round) => rounds.push(round),
                Err(error) if is_interrupted() => return Err(error),
                Err(error) => {
                    eprintln!("{}, round {number}: {error:#}", fault.name());
                    Fault::mend(self.nodes())?;
                    self.pair.start_again()?;
                }
            }
        }
        Ok(rounds)
    }

    fn round(&mut self, fault: Fault) -> Result<Round> {
        let active = self.active()?;
        self.load()?.chatter.renew();
        self.quiet(Instant::now())?;
        let load = self.load()?;
        if load.chatter.talk().connections < connections(self.pair.modes()) {
            bail!(
                "not every connection can be opened: {:?}",
                load.chatter.talk()
            );
        }
        self.pair
            .wait_until_told(active, connections(self.pair.modes()))?;
        let load = self.load()?;
        let (asked, begin) = (load.watch.asked(), Instant::now());
        self.pair.inject(fault, active)?;
        // What looks at the nodes takes CPU time from them: nobody looks until it is over.
        thread::sleep(self.pair.detection() * 2 + Duration::from_millis(100));
        let next = if fault == Fault::None {
            active
        } else {
            1 - active
        };
        self.pair.wait_for_active(next)?;
        self.quiet(Instant::now())?;
        let middle = Instant::now();
        self.pair.restore(fault, active)?;
        let after = self.active()?;
        let load = self.load()?;
        let cut = fault == Fault::Partition;
        let since = if cut { load.watch.asked() } else { asked };
        self.quiet(Instant::now())?;
        let end = Instant::now();
        // Answers to the last datagrams.
        thread::sleep(Duration::from_millis(200));
        self.pair.wait_for_active(after)?;
        let load = self.load()?;
        let talk = load.chatter.talk();
        Ok(Round {
            fault: load.probes.between(begin, middle),
            afterwards: load.probes.between(middle, end),
            resets: talk.resets,
            broken: talk.broken + talk.waiting as u64,
            twice: load.watch.twice_since(since),
            stalled: talk.stalled,
        })
    }

    /// Waits until datagrams and connections are answered again, or connections have had time enough.
    fn quiet(&self, since: Instant) -> Result<()> {
        let load = self.load()?;
        wait_until("datagrams are answered", LIMIT, || {
            load.probes.flow_since(since, ROW)
        })
        .with_context(|| self.pair.diagnosis())?;
        // Each has had its turn to ask by then.
        thread::sleep(PAUSE + Duration::from_millis(100));
        let begin = Instant::now();
        while load.chatter.talk().silent > AT_ONCE && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn load(&self) -> Result<&Load> {
        self.load.as_ref().context("no load runs")
    }
}

impl Load {
    fn start(pair: &impl Pair) -> Result<Self> {
        let at = |vip, port| SocketAddr::new(Family::V4.vip(vip), port);
        let modes = pair.modes().iter();
        let servers = modes
            .clone()
            .map(|(_, vip, count)| (at(*vip, HTTP), *count));
        let probed: Vec<_> = modes.map(|(_, vip, _)| at(*vip, ECHO)).collect();
        let site = &pair.nodes().site;
        let IpAddr::V4(vip) = Family::V4.vip(pair.watched()) else {
            bail!("an IPv4 address");
        };
        Ok(Self {
            chatter: Chatter::start(&site.client, &servers.collect::<Vec<_>>(), PAUSE)?,
            probes: Probes::start(&site.client, &probed)?,
            watch: Watch::start(&site.router, "outside", vip)?,
        })
    }
}

/// All of them.
pub fn connections(modes: &[Mode]) -> usize {
    modes.iter().map(|(_, _, count)| count).sum()
}
