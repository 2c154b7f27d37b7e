//! A site whose forwarder pins in a BPF filesystem of its own.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use forwarder_lab::site::BACKENDS;
use forwarder_lab::{Forwarder, Pinned, wait_until};
use serde_json::Value;

pub use forwarder_lab::pinned::{LIMIT, servers};

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forwarder"))
}

/// What fails here fails the test.
pub struct World(Pinned);

impl Deref for World {
    type Target = Pinned;

    fn deref(&self) -> &Pinned {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Pinned {
        &mut self.0
    }
}

impl World {
    /// A site with the forwarder running, pinned.
    pub fn start() -> Self {
        let mut world = Self::new();
        world.run(|_| ());
        world.wait_until_ready();
        world
    }

    /// A site without a forwarder.
    pub fn new() -> Self {
        Self(Pinned::new(binary()).expect("build the site"))
    }

    /// Starts the daemon; `prepare` may add arguments.
    pub fn run(&mut self, prepare: impl FnOnce(&mut Command)) {
        self.run_with(&config(""), prepare);
    }

    /// Starts the daemon with a config.
    pub fn run_with(&mut self, config: &str, prepare: impl FnOnce(&mut Command)) {
        let started = self.0.run(config, prepare);
        started.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The current generation's directory.
    pub fn generation(&self) -> PathBuf {
        let version = self
            .pins()
            .join(format!("v{}", forwarder_common::ABI_VERSION));
        let mut generations = Vec::new();
        wait_until("older generations are removed", LIMIT, || {
            generations = self.bpf.run(|| names(&version));
            generations.retain(|name| name.starts_with('g'));
            generations.len() == 1
        })
        .unwrap_or_else(|error| panic!("{error}: {generations:?}"));
        version.join(&generations[0])
    }

    /// A `forwarder` command that sees the pins.
    pub fn command(&self, words: &[&str]) -> Output {
        self.0.command(words).expect("run")
    }

    pub fn uninstall(&self) -> Output {
        self.command(&["uninstall", &format!("--pin={}", self.pins().display())])
    }

    pub fn forwarder(&self) -> &Forwarder {
        self.running().expect("it runs")
    }

    pub fn status(&self) -> Value {
        self.forwarder().status().expect("status")
    }

    /// Packets of every virtual server so far, in the order of their names.
    pub fn packets(&self) -> Vec<u64> {
        self.0.packets().expect("packets").into_values().collect()
    }

    /// Waits until every backend is up, resolved and answers.
    pub fn wait_until_ready(&self) {
        let ready = self.0.wait_until_ready(BACKENDS.len());
        ready.unwrap_or_else(|error| panic!("{error:#}"));
    }

    pub fn wait(&self, what: &str, state: impl Fn(&Value) -> bool) {
        let reached = self.0.wait(what, state);
        reached.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Waits until the daemon has logged something.
    pub fn wait_for_log(&self, text: &str) {
        let reached = self.0.wait_for_log(text);
        reached.unwrap_or_else(|error| panic!("{error:#}"));
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// Every backend, in both modes; `more` goes to the top.
pub fn config(more: &str) -> String {
    forwarder_lab::pinned::config(more, BACKENDS.len() as u8)
}
