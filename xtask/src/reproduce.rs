//! `cargo xtask reproduce`: the same sources and tools give the same eBPF object, byte for byte.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::command::{output, program, run as run_command};
use crate::ebpf::{self, Builder};
use crate::workspace;

/// Build the eBPF object twice from nothing and compare the two; prints its hash, as `forwarder --version` does
#[derive(Args)]
pub struct Options {}

pub fn run(_: &Options) -> Result<ExitCode> {
    let builder = Builder::find(env!("CARGO_PKG_RUST_VERSION"))?;
    let directory = workspace::root().join("target/reproduce");
    let first = build(&builder, &directory.join("first"))?;
    let second = build(&builder, &directory.join("second"))?;
    ensure!(
        first == second,
        "two builds of the same sources differ: sha256 {first}, {second}"
    );
    println!("both builds: sha256 {first}");
    Ok(ExitCode::SUCCESS)
}

/// Builds in an empty directory; returns the object's SHA-256.
fn build(builder: &Builder, target: &Path) -> Result<String> {
    match fs::remove_dir_all(target) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)?,
        _ => {}
    }
    let mut cargo = builder.command(&workspace::root(), target, std::env::consts::ARCH)?;
    run_command(cargo.arg("--quiet"))?;
    let object = ebpf::object(target);
    let hash = output(&mut program("sha256sum", [&object])).context("sha256sum")?;
    fs::remove_dir_all(target)?;
    Ok(hash.split(' ').next().unwrap_or_default().to_owned())
}
