//! What the forwarder measures itself: builds it and runs its own `forwarder bench`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::output::code;
use crate::command::{cargo, executable, program, shown};

/// CPU time, measured by the forwarder itself
#[derive(Args)]
pub struct Options {
    /// Options of the forwarder's own command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

pub fn run(what: &str, options: &Options) -> Result<ExitCode> {
    let words = ["bench", what].map(OsString::from);
    let succeeded = forwarder(words.iter().chain(&options.options))?;
    Ok(code(succeeded))
}

/// Builds the forwarder and runs it with these words; whether it succeeded.
pub fn forwarder<'a>(words: impl Iterator<Item = &'a OsString>) -> Result<bool> {
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let mut bench = program(&binary.to_string_lossy(), words);
    println!("$ {}", shown(&bench));
    Ok(bench.status()?.success())
}
