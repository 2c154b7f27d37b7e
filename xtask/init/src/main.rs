//! First process of a test machine: mounts what tests need, loads the kernel modules, runs the plan and
//! switches the machine off. What it says about itself starts with `init: `; `cargo xtask vmtest` reads that.
//!
//! `/plan` has a command a line: `[NAME=VALUE …] PROGRAM [ARGUMENT …]`. `/modules` holds the kernel modules,
//! loaded in the order of their names.

mod system;

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

fn main() {
    let Err(error) = run();
    println!("init: failed: {error:#}");
    let error = system::reboot();
    // The kernel panics when its first process ends, which also ends the machine.
    println!("init: no reboot: {error}");
}

fn run() -> Result<Infallible> {
    system::mount_all()?;
    load_modules()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("init: up on {}", release.trim());
    for line in fs::read_to_string("/plan").context("/plan")?.lines() {
        let result = match command(line)?.status() {
            Ok(status) if status.success() => "passed".to_owned(),
            Ok(status) => format!("failed ({status})"),
            Err(error) => format!("failed (does not start: {error})"),
        };
        println!("\ninit: {result}: {line}");
    }
    println!("init: done");
    Err(system::reboot()).context("no reboot")
}

fn load_modules() -> Result<()> {
    let mut modules = Vec::new();
    for entry in fs::read_dir("/modules").context("/modules")? {
        modules.push(entry?.path());
    }
    modules.sort_unstable();
    for module in &modules {
        system::load_module(module).with_context(|| format!("{}", module.display()))?;
    }
    Ok(())
}

/// The command of a line of the plan.
fn command(line: &str) -> Result<Command> {
    let mut words = line.split_whitespace().peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        variables.extend(variable.split_once('='));
    }
    let program = PathBuf::from(words.next().context("the plan has an empty line")?);
    let mut command = Command::new(program);
    command
        .args(words)
        .envs(variables)
        .env("PATH", "/bin")
        .env("HOME", "/tmp")
        .current_dir("/tmp");
    Ok(command)
}
