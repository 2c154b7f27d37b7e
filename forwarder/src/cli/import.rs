//! `forwarder import`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::print;
use crate::import::{self, Import, LeftOut};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// L4 services of an F5 AS3 declaration
    As3 {
        /// The declaration
        file: PathBuf,
        /// The Cloud Failover declaration of the same pair: its VIPs differ by node
        #[arg(long, value_name = "FILE")]
        cfe: Option<PathBuf>,
        /// Print config and what was left out as JSON
        #[arg(long)]
        json: bool,
    },
    /// The nodes of an F5 Cloud Failover declaration, and what moves between them
    Cfe {
        /// The declaration
        file: PathBuf,
        /// Print config and what was left out as JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn import(arguments: &ImportArguments) -> Result<ExitCode> {
    let (result, json) = match &arguments.from {
        From::As3 { file, cfe, json } => {
            let floating = cfe.as_deref().map(read_cfe).transpose()?;
            let (floating, more) = floating.unzip();
            let text = read(file)?;
            let name = file.display().to_string();
            let mut result =
                import::as3(&text, &name, floating.as_ref()).with_context(|| name.clone())?;
            // They are of another file; the path in front says which.
            let other = cfe
                .as_deref()
                .map(|cfe| cfe.display().to_string())
                .unwrap_or_default();
            result
                .left_out
                .extend(more.into_iter().flatten().map(|left| LeftOut {
                    pointer: format!("{other}#{}", left.pointer),
                    ..left
                }));
            (result, *json)
        }
        From::Cfe { file, json } => {
            let (floating, left_out) = read_cfe(file)?;
            let config = import::cfe_config(&file.display().to_string(), &floating);
            (Import { config, left_out }, *json)
        }
    };
    if json {
        print(&serde_json::to_string_pretty(&result)?)?;
    } else {
        print(result.config.trim_end())?;
        // Standard output is the file.
        for left in &result.left_out {
            eprintln!("left out: {}: {}", left.pointer, left.why);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

fn read_cfe(file: &Path) -> Result<(import::FloatingVips, Vec<LeftOut>)> {
    import::cfe(&read(file)?).with_context(|| file.display().to_string())
}
