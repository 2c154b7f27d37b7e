//! What is built for a test machine.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::image::{self, Content};
use crate::command::{cargo, executable as built_executable};

/// A test target of the package `forwarder`, and how it is run.
struct Target {
    name: &'static str,
    /// Environment, as the plan has it.
    environment: &'static str,
    arguments: &'static str,
}

/// Every program through the verifier.
const LOAD: Target = Target {
    name: "load",
    environment: "FORWARDER_TEST_OBJECT=/object",
    // One at a time: each makes all the maps.
    arguments: "--show-output --test-threads=1",
};
/// The packet path, as far as kernels may differ: the comparison with the model, all program sets, and packets
/// cut at every length. An emulated machine takes seconds to load the programs for each test.
const PACKETS: Target = Target {
    name: "packets",
    environment: "FORWARDER_TEST_OBJECT=/object FORWARDER_PACKETS=100000",
    arguments: "--test-threads=2 differential sweeps::other_program_sets sweeps::truncation",
};
/// The packet path, everything but the comparison with scapy and the chains of namespaces: a machine has neither scapy nor `ip`.
const ALL_PACKETS: Target = Target {
    arguments: "--test-threads=2 --skip scapy --skip what_is_sent_through",
    ..PACKETS
};

/// Which tests a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that make sense in a machine; it takes minutes.
    All,
    /// Those that may differ between kernels.
    Usual,
    /// Those that give the verifier's effort.
    Load,
}

/// A test that is ready to run.
#[derive(Debug)]
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// Its binary.
    pub path: PathBuf,
    line: String,
}

/// What goes into the machine.
#[derive(Debug)]
pub struct Built {
    /// The first process.
    pub init: PathBuf,
    /// The tests.
    pub tests: Vec<Test>,
    /// The eBPF object.
    pub object: PathBuf,
}

impl Built {
    /// What the machine's root file system is made of.
    pub fn content(&self) -> Result<Content> {
        let tests = self.tests.iter();
        Ok(Content {
            init: self.init.clone(),
            programs: tests
                .clone()
                .map(|test| (format!("tests/{}", test.name), test.path.clone()))
                .collect(),
            modules: vec!["veth"],
            files: vec![("object".to_owned(), image::read(&self.object)?)],
            plan: tests.map(|test| format!("{}\n", test.line)).collect(),
            ..Content::default()
        })
    }
}

fn targets(which: Which) -> &'static [Target] {
    match which {
        Which::All => &[LOAD, ALL_PACKETS],
        Which::Usual => &[LOAD, PACKETS],
        Which::Load => &[LOAD],
    }
}

/// Builds the tests and the first process.
pub fn build(which: Which) -> Result<Built> {
    let targets = targets(which);
    let mut test = cargo([
        "test",
        "--locked",
        "--no-run",
        "--quiet",
        "--message-format=json-render-diagnostics",
        "--package=forwarder",
    ]);
    for target in targets {
        test.arg(format!("--test={}", target.name));
    }
    let messages = run(test)?;
    let tests = targets.iter().map(|target| {
        Ok(Test {
            name: target.name,
            path: executable(&messages, target.name)?,
            line: format!(
                "{} /tests/{} {}",
                target.environment, target.name, target.arguments
            ),
        })
    });
    Ok(Built {
        init: init()?,
        tests: tests.collect::<Result<_>>()?,
        object: object(&messages)?,
    })
}

/// Builds the first process.
pub fn init() -> Result<PathBuf> {
    let mut build = cargo(["build", "--locked", "--quiet", "--package=vm-init"]);
    built_executable(&mut build, "vm-init")
}

/// A line of cargo's JSON, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Named>,
    #[serde(default)]
    env: Vec<(String, PathBuf)>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn run(mut cargo: std::process::Command) -> Result<Vec<Message>> {
    let output = cargo.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the tests do not build, see above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().map(serde_json::from_str);
    messages
        .collect::<Result<_, _>>()
        .context("cargo's messages can't be read")
}

fn executable(messages: &[Message], name: &str) -> Result<PathBuf> {
    let named = |message: &&Message| {
        let target = message.target.as_ref();
        message.executable.is_some() && target.is_some_and(|target| target.name == name)
    };
    messages
        .iter()
        .find(named)
        .and_then(|message| message.executable.clone())
        .with_context(|| format!("cargo built no {name}"))
}

fn object(messages: &[Message]) -> Result<PathBuf> {
    let variables = messages.iter().flat_map(|message| &message.env);
    variables
        .filter(|(name, _)| name == "FORWARDER_OBJECT")
        .map(|(_, path)| path.clone())
        .next_back()
        .context("cargo named no eBPF object")
}
