//! `cargo xtask bench prog`: builds the forwarder and runs its own `forwarder bench prog`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::output::code;
use crate::command::{cargo, executable, program, shown};

/// CPU time per packet of the XDP programs: builds the forwarder, then `forwarder bench prog`
#[derive(Args)]
pub struct Options {
    /// Options of `forwarder bench prog`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let mut build = cargo(["build", "--locked", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let binary = binary.to_string_lossy();
    let words = ["bench", "prog"].map(OsString::from);
    let mut bench = program(&binary, words.iter().chain(&options.options));
    println!("$ {}", shown(&bench));
    let status = bench.status()?;
    Ok(code(status.success()))
}
