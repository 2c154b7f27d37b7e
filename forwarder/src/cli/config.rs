//! `forwarder config`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::{SocketArgument, print, runtime};
use crate::admin::client;
use crate::config;

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Print an annotated example to begin with; without a name, list them
    Init {
        /// Which situation
        scenario: Option<String>,
    },
    /// Print the text of the configuration that is at work, with its secrets
    Show(SocketArgument),
}

pub fn config(arguments: &ConfigArguments) -> Result<ExitCode> {
    match &arguments.action {
        Action::Schema => print(&serde_json::to_string_pretty(&config::json_schema())?)?,
        Action::Init { scenario } => print(init(scenario.as_deref())?.trim_end())?,
        Action::Show(socket) => {
            let running = runtime()?.block_on(client::config(&socket.socket))?;
            print(running.text.trim_end_matches('\n'))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(scenario: Option<&str>) -> Result<String> {
    let examples = config::examples();
    let list = || {
        let lines = examples.iter();
        let lines = lines.map(|example| format!("  {:50} {}\n", example.name, example.about()));
        lines.collect::<String>()
    };
    let Some(name) = scenario else {
        return Ok(format!(
            "forwarder config init SCENARIO > forwarder.toml\n\n{}",
            list()
        ));
    };
    match examples.iter().find(|example| example.name == name) {
        Some(example) => Ok(example.text.to_owned()),
        None => bail!(
            "there is no example {name}; there are:\n{}",
            list().trim_end()
        ),
    }
}
