//! `forwarder cloud`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::print;
use crate::config;
use crate::core::cloud::policy::policy;

/// Arguments of `cloud`.
#[derive(Debug, Args)]
pub struct CloudArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the IAM policy that a config file needs: the nodes' role gets it, and nothing more
    IamPolicy {
        /// The config file
        file: PathBuf,
    },
}

pub fn cloud(arguments: &CloudArguments) -> Result<ExitCode> {
    let What::IamPolicy { file } = &arguments.what;
    let config = config::load(file)?;
    // The nodes need the same rights.
    let model = config.models.first();
    let cloud = model.and_then(|model| model.cloud.as_ref());
    let cloud = cloud.with_context(|| format!("{} has no [cloud]", file.display()))?;
    print(&serde_json::to_string_pretty(&policy(cloud))?)?;
    Ok(ExitCode::SUCCESS)
}
