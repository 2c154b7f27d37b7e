//! The forwarder under load, and its counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::pinned::{Pinned, config};
use forwarder_lab::{Namespace, Tally, Traffic, pinned};

/// Backends that the load's old connections are at.
const BACKENDS: u8 = 2;

/// A pinned forwarder that comes and goes.
pub struct Daemon(Pinned);

impl Daemon {
    /// Builds the site and starts the forwarder.
    pub fn start(binary: &Path) -> Result<Self> {
        let mut daemon = Self(Pinned::new(binary)?);
        daemon.run(None)?;
        daemon.0.wait_until_ready(BACKENDS.into())?;
        Ok(daemon)
    }

    pub fn directory(&self) -> &Path {
        self.0.site.directory()
    }

    pub fn client(&self) -> &Namespace {
        &self.0.site.client
    }

    pub fn stop(&mut self) -> Result<()> {
        self.0.stop()
    }

    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts the daemon, with another object than its own if one is given; its programs must run then.
    pub fn run(&mut self, object: Option<&Path>) -> Result<()> {
        let before = self.program();
        self.0.run(&config("", BACKENDS), |command| {
            if let Some(object) = object {
                command.arg("--object").arg(object);
            }
        })?;
        ensure!(
            self.program() != before,
            "the old programs are still attached"
        );
        self.0.wait_until_up()
    }

    /// Starts a daemon with an object that the kernel refuses: it must end, and the old programs stay.
    pub fn run_refused(&self, object: &Path) -> Result<()> {
        let before = self.program();
        let directory = self.directory();
        let output = self.0.command(&[
            "run",
            &directory.join("forwarder.toml").display().to_string(),
            &format!("--pin={}", self.0.pins().display()),
            &format!("--object={}", object.display()),
            &format!("--socket={}", directory.join("refused.sock").display()),
        ])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "a broken object was taken");
        ensure!(said.contains("goes on forwarding"), "it says: {said}");
        ensure!(self.program() == before, "the old programs are gone");
        Ok(())
    }

    fn program(&self) -> [Option<u64>; 2] {
        ["eth0", "eth1"].map(|device| self.0.program(device))
    }

    /// Puts a config to work, with so many backends in the pools and whatever stands at the end.
    pub fn reload(&self, backends: u8, more: &str) -> Result<()> {
        let running = self.0.running()?;
        let new = self.directory().join("new.toml");
        fs::write(&new, config("", backends) + more)?;
        fs::rename(new, running.config())?;
        self.command(&["reload"])?;
        self.0.wait_until_up()
    }

    /// A command that has to succeed.
    pub fn command(&self, words: &[&str]) -> Result<()> {
        let output = self.0.running()?.run(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "forwarder {words:?}: {said}");
        Ok(())
    }

    /// Nothing but traffic.
    pub fn traffic_passes(&mut self, traffic: &Traffic) -> Result<()> {
        traffic.turns(TURNS)
    }

    pub fn counters(&self) -> Result<Counters> {
        let now = self.0.packets()?;
        Ok(Counters {
            first: now.clone(),
            last: now,
            went_back: Vec::new(),
        })
    }

    /// Looks at the counters again.
    pub fn follow(&self, counters: &mut Counters) -> Result<()> {
        let now = self.0.packets()?;
        for (name, last) in &counters.last {
            let now = now.get(name).with_context(|| format!("{name} is gone"))?;
            if now < last {
                counters
                    .went_back
                    .push(format!("{name}: {last} became {now}"));
            }
        }
        counters.last = now;
        Ok(())
    }

    pub fn diagnosis(&self) -> String {
        let running = self.0.running();
        running.map_or_else(
            |error| error.to_string(),
            forwarder_lab::Forwarder::diagnosis,
        )
    }
}

/// Turns of every client while something is the case.
pub const TURNS: u64 = 20;

/// Packets of every virtual server, by its name.
pub struct Counters {
    first: BTreeMap<String, u64>,
    last: BTreeMap<String, u64>,
    went_back: Vec<String>,
}

impl Counters {
    /// What is wrong with them: a counter went back, or datagrams were sent that were not counted once each.
    pub fn problems(&self, tally: &Tally) -> Vec<String> {
        let mut problems = self.went_back.clone();
        for (server, sent) in &tally.datagrams {
            let name = pinned::name(*server);
            let value = |at: &BTreeMap<String, u64>| at.get(&name).copied().unwrap_or_default();
            let counted = value(&self.last) - value(&self.first);
            if counted != *sent {
                problems.push(format!("{name}: {sent} sent, {counted} counted"));
            }
        }
        problems
    }
}
