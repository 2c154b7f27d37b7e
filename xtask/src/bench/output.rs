//! What every benchmark ends with: the result as JSON where it is wanted, and an exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

/// Where the result goes.
#[derive(Args)]
pub struct Output {
    /// Write the result there as JSON; `-`: to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Output {
    /// Writes the result if it is wanted: exit code 0 if all is well, otherwise 1.
    pub fn end(&self, report: &impl Serialize, ok: bool) -> Result<ExitCode> {
        match &self.json {
            Some(file) if file == Path::new("-") => print!("{}", text(report)?),
            _ => self.keep(report)?,
        }
        Ok(code(ok))
    }

    /// Writes what is there so far: it is not lost with the rest. Nothing to standard output.
    pub fn keep(&self, report: &impl Serialize) -> Result<()> {
        match &self.json {
            Some(file) if file != Path::new("-") => std::fs::write(file, text(report)?)
                .with_context(|| format!("{} can't be written", file.display())),
            _ => Ok(()),
        }
    }
}

/// 0 if all is well, otherwise 1.
pub fn code(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn text(report: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
