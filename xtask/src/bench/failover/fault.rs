//! What happens to the active node.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use forwarder_lab::Nodes;
use forwarder_lab::nodes::{DEVICES, PATHS};

/// After so long no lease holds that is not renewed.
const LEASE: Duration = Duration::from_millis(600);

/// A kind of fault, or of planned change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Fault {
    /// Nothing: what the load loses by itself
    None,
    /// Every cable of the node is cut in the middle: nothing comes from it, and no link goes down
    SilentDeath,
    /// Its daemon is killed (SIGKILL); what is pinned stays
    Kill,
    /// Its daemon is stopped (SIGSTOP), and goes on later
    Stop,
    /// One of its interfaces is set down
    LinkDown,
    /// One of its interfaces loses the carrier
    CarrierLoss,
    /// `forwarder failover`
    HandOver,
    /// `forwarder maintenance on`, then `off`
    Maintenance,
    /// Its daemon ends (SIGTERM), and a new one starts
    Upgrade,
    /// The paths between the nodes are cut, and mended later: both live, and neither knows
    Partition,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::SilentDeath,
        Self::Kill,
        Self::Stop,
        Self::LinkDown,
        Self::CarrierLoss,
        Self::HandOver,
        Self::Maintenance,
        Self::Upgrade,
        Self::Partition,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SilentDeath => "silent-death",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::LinkDown => "link-down",
            Self::CarrierLoss => "carrier-loss",
            Self::HandOver => "hand-over",
            Self::Maintenance => "maintenance",
            Self::Upgrade => "upgrade",
            Self::Partition => "partition",
        }
    }

    /// Whether it takes longer where the nodes ask each other less often.
    pub fn is_detected(self) -> bool {
        matches!(self, Self::SilentDeath | Self::Kill | Self::Stop)
    }

    /// Does it to a node.
    pub fn inject(self, nodes: &mut Nodes, node: usize, config: &str) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::SilentDeath => cut(nodes, node, &DEVICES, true),
            Self::Kill => {
                nodes.kill(node);
                Ok(())
            }
            Self::Stop => {
                nodes.running(node)?.pause(true);
                Ok(())
            }
            Self::LinkDown => nodes.host(node).ip("link set eth0 down"),
            Self::CarrierLoss => nodes.site.set_carrier(nodes.host(node), "eth0", false),
            Self::HandOver => nodes.command(node, &["failover"]),
            Self::Maintenance => nodes.command(node, &["maintenance", "on"]),
            Self::Upgrade => {
                nodes.stop(node)?;
                nodes.start(node, config)
            }
            Self::Partition => cut(nodes, node, &PATHS, true),
        }
    }

    /// Mends every cable, whatever happened.
    pub fn mend(nodes: &Nodes) -> Result<()> {
        for node in 0..2 {
            nodes.host(node).ip("link set eth0 up")?;
            nodes.site.set_carrier(nodes.host(node), "eth0", true)?;
            cut(nodes, node, &DEVICES, false)?;
            nodes.restore_routes(node)?;
        }
        Ok(())
    }

    /// Puts it right again.
    pub fn restore(self, nodes: &mut Nodes, node: usize, config: &str) -> Result<()> {
        match self {
            Self::None | Self::HandOver | Self::Upgrade => Ok(()),
            Self::SilentDeath => {
                // What was dead comes back with nothing in its mind, and no lease.
                nodes.kill(node);
                thread::sleep(LEASE);
                cut(nodes, node, &DEVICES, false)?;
                nodes.start(node, config)
            }
            Self::Kill => nodes.start(node, config),
            Self::Stop => {
                nodes.running(node)?.pause(false);
                Ok(())
            }
            Self::LinkDown => {
                nodes.host(node).ip("link set eth0 up")?;
                nodes.restore_routes(node)
            }
            Self::CarrierLoss => nodes.site.set_carrier(nodes.host(node), "eth0", true),
            Self::Maintenance => nodes.command(node, &["maintenance", "off"]),
            Self::Partition => cut(nodes, node, &PATHS, false),
        }
    }
}

/// Cuts a node's cables in the middle, or mends them.
pub fn cut(nodes: &Nodes, node: usize, devices: &[&str], cut: bool) -> Result<()> {
    let ends: Vec<_> = devices
        .iter()
        .map(|device| (nodes.host(node), *device))
        .collect();
    nodes.site.cut(&ends, cut)
}
