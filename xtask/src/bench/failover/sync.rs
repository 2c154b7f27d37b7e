//! What telling the standby of flows costs, and what it is good for: CPU time of each node's thread for a new flow,
//! how late the last of them is when the paths are bad, and whether a takeover takes longer the more there are.

use std::fs;
use std::net::{IpAddr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use forwarder_lab::client::handshake::Handshakes;
use forwarder_lab::nodes::PATHS;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Disturbance, Family, Nodes, Relay, wait_until};
use serde::Serialize;
use serde_json::Value;

use super::Timing;
use super::fault::Fault;
use super::report::Row;
use super::round::World;

/// The number of the VIP whose connections have nobody at their ends.
const VIP: u8 = 12;
/// New flows of each measurement.
const RATE: u32 = 100_000;
const LINK: u32 = 20_000;
/// Flows that are there when the active node dies.
const MANY: u32 = 150_000;
/// Made in a second, at most: of the ones that are counted, and over bad paths.
const FAST: u32 = 50_000;
const SLOW: u32 = 10_000;
/// Made at once.
const BATCH: u32 = 250;
/// Nothing here takes that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);

/// Everything, as it is in the JSON.
#[derive(Serialize)]
pub struct Sync {
    rate: Rate,
    link: Link,
    takeover: Vec<Takeover>,
    holds: bool,
}

/// What a new flow costs.
#[derive(Serialize)]
struct Rate {
    flows: u32,
    /// Made in each second.
    made_per_second: f64,
    active: Side,
    standby: Side,
    /// Events that the ring had no room for.
    events_lost: u64,
    load_average: f64,
    bar: u32,
    holds: bool,
}

/// CPU time of a node's thread.
#[derive(Serialize)]
struct Side {
    microseconds_per_flow: f64,
    flows_per_second_of_a_core: f64,
}

/// Bad paths.
#[derive(Serialize)]
struct Link {
    settings: &'static str,
    flows: u32,
    /// From the last flow until the standby had all.
    complete_after_ms: f64,
    /// Datagrams that were sent once more.
    again: u64,
    load_average: f64,
    holds: bool,
}

/// The active node dies.
#[derive(Serialize)]
struct Takeover {
    /// Those that have nobody at their ends.
    flows: u32,
    #[serde(flatten)]
    row: Row,
}

/// Adds the virtual server to a configuration.
pub fn config(config: &str) -> String {
    let addresses: Vec<_> = (40..48)
        .map(|index| format!("\"{}\"", Family::V4.backend(index)))
        .collect();
    format!(
        "{config}[[snat_pool]]\nname = \"many\"\naddresses = [{}]\nports = \"10000-59999\"\ninterface = \"inside\"\n\
         [[virtual_server]]\nname = \"many\"\naddress = \"{}\"\nport = {HTTP}\nmode = \"full-nat\"\npool = \"{}\"\nsnat = \"many\"\n",
        addresses.join(", "),
        Family::V4.vip(VIP),
        Family::V4,
    )
}

/// Measures all of it with a pair that is up and under load.
pub fn measure(world: &mut World, timing: Timing, rounds: u32) -> Result<Sync> {
    let few = takeover(world, timing, 0, rounds)?;
    world.rest();
    let rate = rate(world)?;
    rate.print();
    let link = link(world)?;
    link.print();
    make(world, RATE + LINK, MANY - RATE - LINK, FAST)?;
    world.load_again()?;
    let many = takeover(world, timing, MANY, rounds)?;
    let interval = timing.interval.as_secs_f64() * 1e3;
    let extra = many.row.gap_ms.median - few.row.gap_ms.median;
    println!("takeover with {MANY} flows: {extra:+.1} ms (an interval is {interval} ms)");
    let holds = rate.holds
        && link.holds
        && few.row.holds
        && many.row.holds
        // It depends on the moment within an interval.
        && extra <= interval;
    Ok(Sync {
        rate,
        link,
        takeover: vec![few, many],
        holds,
    })
}

impl Sync {
    pub fn holds(&self) -> bool {
        self.holds
    }
}

fn takeover(world: &mut World, timing: Timing, flows: u32, rounds: u32) -> Result<Takeover> {
    let fault = Fault::SilentDeath;
    let row = Row::new(fault, timing, rounds, &world.rounds(fault, rounds)?);
    row.print();
    Ok(Takeover { flows, row })
}

fn rate(world: &World) -> Result<Rate> {
    let (nodes, active) = (world.nodes(), world.active()?);
    let before = told(nodes, active);
    let made_per_second = make(world, 0, RATE, FAST)?;
    wait_until_told(nodes, active, before.received + u64::from(RATE))?;
    let after = told(nodes, active);
    let side = |node: usize| Side::new(after.cpu[node] - before.cpu[node]);
    let (active, standby) = (side(active), side(1 - active));
    let bar = 200_000;
    let holds = [&active, &standby].map(|side| side.flows_per_second_of_a_core >= f64::from(bar));
    let events_lost = after.lost - before.lost;
    Ok(Rate {
        flows: RATE,
        made_per_second,
        active,
        standby,
        events_lost,
        load_average: load_average(),
        bar,
        holds: holds == [true; 2] && events_lost == 0,
    })
}

impl Rate {
    fn print(&self) {
        println!(
            "{} new flows, {:.0} a second: {:.2} us of CPU each at the active node, {:.2} at the standby: {:.0} and {:.0} a second per core, {} lost, load average {}  >= {} a core  {}",
            self.flows,
            self.made_per_second,
            self.active.microseconds_per_flow,
            self.standby.microseconds_per_flow,
            self.active.flows_per_second_of_a_core,
            self.standby.flows_per_second_of_a_core,
            self.events_lost,
            self.load_average,
            self.bar,
            if self.holds { "holds" } else { "DOES NOT HOLD" },
        );
    }
}

impl Side {
    fn new(microseconds: u64) -> Self {
        let each = microseconds as f64 / f64::from(RATE);
        Self {
            microseconds_per_flow: each,
            flows_per_second_of_a_core: 1e6 / each,
        }
    }
}

fn link(world: &World) -> Result<Link> {
    let (nodes, active) = (world.nodes(), world.active()?);
    let bad = Disturbance {
        loss: 10,
        twice: 10,
        delay: [0, 5].map(Duration::from_millis),
    };
    let ends = |device| [0, 1].map(|node| (nodes.host(node), device));
    let relays: Result<Vec<Relay>> = PATHS
        .map(|device| nodes.site.relay(ends(device), [bad; 2]))
        .into_iter()
        .collect();
    let before = told(nodes, active);
    let made = make(world, RATE, LINK, SLOW);
    let begin = Instant::now();
    let all = wait_until_told(nodes, active, before.received + u64::from(LINK));
    let time = begin.elapsed();
    let after = told(nodes, active);
    drop(relays?);
    for device in PATHS {
        nodes.site.replug(ends(device))?;
    }
    made.and(all.map(|()| 0.0))?;
    Ok(Link {
        settings: "10 % lost, 10 % twice, each late by 0 to 5 ms, on both paths",
        flows: LINK,
        complete_after_ms: (time.as_secs_f64() * 1e4).round() / 10.0,
        again: after.again - before.again,
        load_average: load_average(),
        holds: time <= Duration::from_secs(1),
    })
}

impl Link {
    fn print(&self) {
        println!(
            "{}: {} flows; the standby has all {} ms after the last, {} datagrams again, load average {}  <= 1000 ms  {}",
            self.settings,
            self.flows,
            self.complete_after_ms,
            self.again,
            self.load_average,
            if self.holds { "holds" } else { "DOES NOT HOLD" },
        );
    }
}

/// Makes flows through the active node, so many a second at most: how many it were.
fn make(world: &World, first: u32, count: u32, most: u32) -> Result<f64> {
    let (nodes, active) = (world.nodes(), world.active()?);
    let IpAddr::V4(vip) = Family::V4.vip(VIP) else {
        bail!("an IPv4 address");
    };
    let host = nodes.host(active);
    let mut handshakes = Handshakes::through(host, SocketAddrV4::new(vip, HTTP), first)?;
    host.run(move || {
        let begin = Instant::now();
        for done in (0..count).step_by(BATCH as usize) {
            let due = begin + Duration::from_secs_f64(f64::from(done) / f64::from(most));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            handshakes.make(BATCH.min(count - done))?;
        }
        Ok(f64::from(count) / begin.elapsed().as_secs_f64())
    })
}

/// What the nodes say of what one told the other.
struct Told {
    /// Microseconds, by node.
    cpu: [u64; 2],
    /// At the standby.
    received: u64,
    /// Waiting, lost and sent again at the active one.
    waiting: u64,
    lost: u64,
    again: u64,
}

fn told(nodes: &Nodes, active: usize) -> Told {
    // The active one first: what it counts as applied the standby has counted.
    let sender = nodes.pair(active)["sync"].take();
    let receiver = nodes.pair(1 - active)["sync"].take();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let cpu = |view: &Value| number(&view["cpu_microseconds"]);
    let mut all = [cpu(&sender), cpu(&receiver)];
    if active == 1 {
        all.reverse();
    }
    Told {
        cpu: all,
        received: number(&receiver["received"]),
        waiting: number(&sender["waiting"]),
        lost: number(&sender["events_lost"]),
        again: number(&sender["sent"]["again"]),
    }
}

fn wait_until_told(nodes: &Nodes, active: usize, received: u64) -> Result<()> {
    wait_until("the standby has all flows", LIMIT, || {
        let told = told(nodes, active);
        told.waiting == 0 && told.received >= received
    })
    .with_context(|| nodes.diagnosis())
}

/// Of the last minute.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.unwrap_or(0.0)
}
