//! `forwarder check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::print;
use crate::config;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The config file
    file: PathBuf,
    /// This node's name; without it the file is checked for every node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

pub fn check(arguments: &Check) -> Result<ExitCode> {
    let config = config::load(&arguments.file)?;
    let warnings = config.warnings.clone();
    if let Some(node) = &arguments.node {
        config.for_node(Some(node))?;
    }
    print(&warnings.to_string())?;
    Ok(ExitCode::SUCCESS)
}
