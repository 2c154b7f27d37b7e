//! `cargo xtask vmpair`: a pair of two machines of another kernel, with virtio cards on a switch of network
//! namespaces. One is frozen, the other takes over, and what wakes up does nothing for VIPs any more; one loses
//! its power, and the other takes over.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod guest;
mod network;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use forwarder_lab::client::arp::Watch;
use forwarder_lab::client::probe::{Outage, Probes};

use self::guest::{Made, Timing};
use self::network::{NODES, Network, vip};
use crate::command::{cargo, executable};
use crate::setup::{self, Purpose};
use crate::vmtest::{build, kernels, lines};

/// Answered datagrams in a row that show that all flows.
const ROW: usize = 50;
/// Ends on the way to and from a stopped machine.
const ON_ITS_WAY: Duration = Duration::from_millis(300);
/// So long what woke up is watched.
const AWAKE: Duration = Duration::from_secs(3);

/// Let a pair of machines of other kernels lose one to a freeze, and one to a power loss (as root)
#[derive(Args)]
pub struct Options {
    /// Kernel to boot; may be given several times. All that are known by default
    #[arg(long = "kernel", value_name = "6.1|6.12")]
    kernels: Vec<String>,
    /// Between two echoes; three that are missing are a loss
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    interval: u64,
    /// A release build, for what is to be measured
    #[arg(long)]
    release: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Purpose::Build, Purpose::Demo, Purpose::Machines])?;
    let mut forwarder = cargo(["build", "--locked", "--package=forwarder"]);
    if options.release {
        forwarder.arg("--release");
    }
    let forwarder = executable(&mut forwarder, "forwarder")?;
    let init = build::init()?;
    let timing = Timing {
        interval: Duration::from_millis(options.interval),
        multiplier: 3,
    };
    let mut failed = 0;
    let lines = lines(&options.kernels);
    for line in &lines {
        let made = Made {
            kernel: kernels::get(line)?,
            forwarder: forwarder.clone(),
            init: init.clone(),
            timing,
        };
        if let Err(error) = pair(&made) {
            println!("FAILED {line}: {error:#}");
            failed += 1;
        }
    }
    println!("{} passed, {failed} failed", lines.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Both losses, on a kernel.
fn pair(made: &Made) -> Result<()> {
    let begin = Instant::now();
    let mut network = Network::new(made)?;
    let first = network.active()?;
    network.wait_until_ready(first)?;
    println!(
        "{}: a pair of {} is ready after {:.0} s; {}",
        made.kernel.line,
        made.kernel.release,
        begin.elapsed().as_secs_f64(),
        network.attached(first)?,
    );
    let probes = network.probes()?;
    let watch = network.watch()?;
    flows(&network, &probes, Instant::now())?;
    freeze(&network, first, &probes, &watch)?;
    network.wait_until_ready(1 - first)?;
    lose_power(&mut network, 1 - first, &probes, &watch)?;
    println!(
        "{}: {:.0} s in all",
        made.kernel.line,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A machine stands still until the other has taken over, and goes on.
fn freeze(network: &Network, active: usize, probes: &Probes, watch: &Watch) -> Result<()> {
    let host = network.unaware_host(active)?;
    let unaware = Probes::start(&host, &[vip()])?;
    flows(network, &unaware, Instant::now()).context("by way of the machine's own address")?;
    let (begin, asked) = (Instant::now(), watch.asked());
    network.guest(active)?.pause(true);
    thread::sleep(ON_ITS_WAY);
    let frozen = Instant::now();
    network.wait_for_role(1 - active, "active")?;
    flows(network, probes, frozen)?;
    let middle = Instant::now();
    network.guest(active)?.pause(false);
    network.wait_for_role(active, "standby")?;
    thread::sleep(AWAKE);
    let end = Instant::now();
    thread::sleep(ON_ITS_WAY);
    // What this host sent goes to the machine that was frozen, and to no other.
    let through = Outage::of_all(&unaware.between(frozen, end));
    let twice = watch.twice_since(asked);
    println!(
        "  {} frozen for {:.1} s: gap {:.0} ms; awake again: {} datagrams had waited for it or came then, {} \
         forwarded; answers of two nodes: {twice}",
        NODES[active],
        (middle - begin).as_secs_f64(),
        gap(probes, begin, end),
        through.sent,
        through.sent - through.lost,
    );
    ensure!(through.sent > 0, "nothing was sent to it");
    ensure!(
        through.sent == through.lost,
        "it forwarded what it was no longer to forward"
    );
    ensure!(twice == 0, "both nodes answered for a VIP");
    network.wait_for_role(1 - active, "active")
}

/// A machine is gone from one moment to the next.
fn lose_power(network: &mut Network, active: usize, probes: &Probes, watch: &Watch) -> Result<()> {
    let (begin, asked) = (Instant::now(), watch.asked());
    network.kill(active);
    flows(network, probes, begin + ON_ITS_WAY)?;
    network.wait_for_role(1 - active, "active")?;
    let twice = watch.twice_since(asked);
    println!(
        "  {} without power (kill -9): gap {:.0} ms; answers of two nodes: {twice}",
        NODES[active],
        gap(probes, begin, Instant::now()),
    );
    ensure!(twice == 0, "both nodes answered for a VIP");
    Ok(())
}

/// Waits until datagrams are answered that were sent since then.
fn flows(network: &Network, probes: &Probes, since: Instant) -> Result<()> {
    network.wait("datagrams are answered", || probes.flow_since(since, ROW))
}

fn gap(probes: &Probes, from: Instant, to: Instant) -> f64 {
    let outage = Outage::of_all(&probes.between(from, to));
    outage.gap.as_secs_f64() * 1e3
}
