//! `forwarder cloud`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};

use super::print;
use crate::config;
use crate::config::instance_type::{LimitsTable, built_in, read_table, table_text};
use crate::config::model::Cloud;
use crate::core::cloud::policy::policy;
use crate::io::cloud::inspect;

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
    /// Print what instances of the file's types may have: network interfaces, and addresses of each
    Limits {
        /// The config file
        file: PathBuf,
        /// Ask the cloud, and write what it says to the file that `limits_file` names
        #[arg(long)]
        refresh: bool,
    },
}

pub async fn cloud(arguments: &CloudArguments) -> Result<ExitCode> {
    match &arguments.what {
        What::IamPolicy { file } => {
            let clouds = clouds(file)?;
            // The nodes need the same rights.
            print(&serde_json::to_string_pretty(&policy(&clouds[0]))?)?;
        }
        What::Limits { file, refresh } => limits(&clouds(file)?, *refresh).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The cloud as each node sees it; at least one.
fn clouds(file: &Path) -> Result<Vec<Cloud>> {
    // A file that wants too much by yesterday's figures is the one whose figures are asked for.
    let models = config::load_beyond_limits(file)?;
    let clouds: Vec<_> = models.into_iter().filter_map(|model| model.cloud).collect();
    ensure!(!clouds.is_empty(), "{} has no [cloud]", file.display());
    Ok(clouds)
}

async fn limits(clouds: &[Cloud], refresh: bool) -> Result<()> {
    let types = clouds
        .iter()
        .filter_map(|cloud| cloud.instance_type.clone());
    let types: BTreeSet<String> = types.collect();
    ensure!(!types.is_empty(), "[cloud] has no `instance_type`");
    let types: Vec<String> = types.into_iter().collect();
    let file = clouds[0].limits_file.as_deref();
    let mut table = match file.filter(|file| file.exists()) {
        Some(file) => read_table(file).map_err(|why| anyhow!("{}: {why}", file.display()))?,
        None => LimitsTable::new(),
    };
    if refresh {
        let file = file.context("[cloud] has no `limits_file` to write to")?;
        let told = inspect::limits(&clouds[0], &types).await;
        table.extend(told.map_err(|why| anyhow!("the cloud does not tell: {why}"))?);
        let text = table_text(&table);
        replace(file, &text).with_context(|| file.display().to_string())?;
    }
    for name in &types {
        let (limits, from) = match (table.get(name), built_in(name)) {
            (Some(limits), _) => (*limits, "limits_file"),
            (None, Some(limits)) => (limits, "built in"),
            (None, None) => bail!("{name} is not known: ask the cloud with --refresh"),
        };
        print(&format!(
            "{name}: {} network interfaces; on each {} addresses and prefixes of IPv4, {} of IPv6 ({from})",
            limits.interfaces, limits.ipv4, limits.ipv6
        ))?;
    }
    Ok(())
}

/// Whoever reads it meanwhile reads the old one or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)?;
    fs::rename(&new, file)
}
