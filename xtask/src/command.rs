//! Running other programs.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace;

/// The cargo that runs this task, at the workspace's root.
///
/// It finds what this task's own cargo was told of xtask (`CARGO_MANIFEST_DIR`, `CARGO_PKG_*`) taken away:
/// build scripts of dependencies that watch these would run again each time, and what depends on them would
/// be built again.
pub fn cargo<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let of_a_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")
        });
        if of_a_package {
            cargo.env_remove(name);
        }
    }
    cargo
        .args(args)
        .current_dir(workspace::root())
        .stdin(Stdio::null());
    cargo
}

/// `program args…`, without standard input.
pub fn program<I: IntoIterator<Item: AsRef<OsStr>>>(program: &str, args: I) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command in view; its failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("`{shown}` does not start"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Standard output of a command, trimmed; `None` if it is missing or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs a command in view and hands each line of its standard output to `line` as well.
/// True if it succeeded.
pub fn tee(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let shown = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` does not start"))?;
    let stdout = child.stdout.take().context("standard output is piped")?;
    for bytes in BufReader::new(stdout).split(b'\n') {
        let bytes = bytes?;
        let text = String::from_utf8_lossy(&bytes);
        println!("{text}");
        line(&text);
    }
    Ok(child.wait()?.success())
}

/// Runs a cargo command that builds, in view, and tells where the executable of the target `name` is.
pub fn executable(build: &mut Command, name: &str) -> Result<PathBuf> {
    executable_in(&messages(build)?, name)
}

/// Runs a cargo command that builds the forwarder, in view: where its executable is, and the eBPF object that
/// is built into it.
pub fn executable_and_object(build: &mut Command) -> Result<(PathBuf, PathBuf)> {
    let messages = messages(build)?;
    let environment = messages
        .iter()
        .filter_map(|message| message["env"].as_array())
        .flatten();
    let object = environment
        .filter(|pair| pair[0] == "FORWARDER_OBJECT")
        .find_map(|pair| pair[1].as_str().map(PathBuf::from))
        .context("cargo says of no eBPF object")?;
    Ok((executable_in(&messages, "forwarder")?, object))
}

fn executable_in(messages: &[Value], name: &str) -> Result<PathBuf> {
    messages
        .iter()
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo says of no executable {name}"))
}

/// What cargo says of a build.
fn messages(build: &mut Command) -> Result<Vec<Value>> {
    println!("$ {}", shown(build));
    let build = build.arg("--message-format=json-render-diagnostics");
    let output = build.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` failed", shown(build));
    }
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut words = words.map(OsStr::to_string_lossy);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    words.fold(name, |line, word| line + " " + &word)
}
