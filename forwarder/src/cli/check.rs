//! `forwarder check`.

use std::path::PathBuf;
use std::process::ExitCode;

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

pub fn check(arguments: &Check) -> ExitCode {
    let checked = config::load(&arguments.file).and_then(|config| {
        let warnings = config.warnings.clone();
        match &arguments.node {
            Some(node) => config.for_node(Some(node)).map(|_| warnings),
            None => Ok(warnings),
        }
    });
    match checked {
        Ok(warnings) => {
            let text = warnings.to_string();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            println!("{}: good", arguments.file.display());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}
