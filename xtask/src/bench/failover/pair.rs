//! The two nodes, whatever runs on them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use forwarder_lab::Nodes;

use super::Timing;
use super::fault::Fault;
use super::round::{MODES, Mode};
use super::sync;

/// Two nodes of which one is active.
pub trait Pair {
    /// As it is called in the tables.
    fn name(&self) -> String;
    /// What goes through them.
    fn modes(&self) -> &'static [Mode];
    /// The number of the VIP whose owners are watched.
    fn watched(&self) -> u8;
    /// The network.
    fn nodes(&self) -> &Nodes;
    /// How long a silent peer is not noticed, about.
    fn detection(&self) -> Duration;
    /// Both from the beginning; one becomes active.
    fn start_again(&mut self) -> Result<()>;
    /// Waits until one node is active, and the other ready to be. Which is active.
    fn active(&self) -> Result<usize>;
    /// Waits until a node is active.
    fn wait_for_active(&self, node: usize) -> Result<()>;
    /// Waits until the other one knows so many connections, if it is told of any.
    fn wait_until_told(&self, active: usize, connections: usize) -> Result<()>;
    /// Does it to a node.
    fn inject(&mut self, fault: Fault, node: usize) -> Result<()>;
    /// Puts it right again.
    fn restore(&mut self, fault: Fault, node: usize) -> Result<()>;
    /// What there is to know when something goes wrong.
    fn diagnosis(&self) -> String;
}

/// Two forwarders.
pub struct Forwarders {
    pub nodes: Nodes,
    pub timing: Timing,
    config: String,
}

impl Forwarders {
    /// The network, without daemons.
    pub fn new(binary: &Path) -> Result<Self> {
        Ok(Self {
            nodes: Nodes::new(binary)?,
            timing: Timing::ALL[0],
            config: String::new(),
        })
    }

    /// This timing from the next start on.
    pub fn set(&mut self, timing: Timing) {
        self.timing = timing;
        let nodes = &self.nodes;
        let config = sync::config(&nodes.config(timing.interval, timing.multiplier));
        self.config = match timing.reflects {
            true => Nodes::reflecting(&config),
            false => config,
        };
    }
}

impl Pair for Forwarders {
    fn name(&self) -> String {
        self.timing.name()
    }

    fn modes(&self) -> &'static [Mode] {
        &MODES
    }

    fn watched(&self) -> u8 {
        forwarder_lab::pinned::DIRECT
    }

    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn detection(&self) -> Duration {
        self.timing.detection()
    }

    fn start_again(&mut self) -> Result<()> {
        for node in 0..2 {
            self.nodes.kill(node);
        }
        for node in 0..2 {
            self.nodes.start(node, &self.config)?;
        }
        self.active().map(drop)
    }

    fn active(&self) -> Result<usize> {
        let active = self.nodes.active()?;
        self.nodes.wait_until_ready(active)?;
        Ok(active)
    }

    fn wait_for_active(&self, node: usize) -> Result<()> {
        self.nodes.wait_for_active(node)
    }

    fn wait_until_told(&self, _active: usize, _connections: usize) -> Result<()> {
        Ok(())
    }

    fn inject(&mut self, fault: Fault, node: usize) -> Result<()> {
        fault.inject(&mut self.nodes, node, &self.config)
    }

    fn restore(&mut self, fault: Fault, node: usize) -> Result<()> {
        fault.restore(&mut self.nodes, node, &self.config)
    }

    fn diagnosis(&self) -> String {
        self.nodes.diagnosis()
    }
}
