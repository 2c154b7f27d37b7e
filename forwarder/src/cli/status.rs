//! `forwarder status`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::judgement::{Judgement, Level};
use super::table::Look;
use super::{Output, SocketArgument, emit, nodes, print, tables};
use crate::admin::api::Status;
use crate::admin::client;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArguments {
    /// Show it again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
    /// Say in one line whether all is well, for a monitoring system.
    /// Exit codes: 0 well, 1 warning, 2 critical, 3 unknown
    #[arg(long, conflicts_with_all = ["watch", "output"])]
    check: bool,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn status(arguments: &StatusArguments) -> Result<ExitCode> {
    let socket = &arguments.socket.socket;
    if arguments.check {
        let judgement = match client::status(socket).await {
            Ok(status) => Judgement::of(&status),
            Err(error) => Judgement::unknown(&error.to_string()),
        };
        print(&judgement.to_string())?;
        return Ok(ExitCode::from(judgement.level as u8));
    }
    loop {
        let status = client::status(socket).await?;
        if arguments.watch.is_some() && std::io::stdout().is_terminal() {
            // Clears the screen and begins at its top.
            print("\x1b[H\x1b[2J")?;
        }
        emit(arguments.output, &status, || {
            text(&status, Look::of_output())
        })?;
        let Some(seconds) = arguments.watch else {
            return Ok(ExitCode::SUCCESS);
        };
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    }
}

fn text(status: &Status, look: Look) -> String {
    let node = status.node.as_ref();
    let node = node
        .map(|node| format!("node {node}, "))
        .unwrap_or_default();
    let mut text = format!(
        "forwarder {}, {node}up {}\nconfig {}, sha256 {}, generation {}\n",
        status.version,
        tables::duration(status.uptime_seconds),
        status.config,
        status.config_hash.get(..12).unwrap_or_default(),
        status.config_generation,
    );
    if let Some(error) = &status.config_error {
        text.push_str(&format!("the last reload changed nothing:\n{error}\n"));
    }
    if let Some(pair) = &status.pair {
        let own = status.node.as_deref().unwrap_or_default();
        text.push_str(&nodes::pair(pair, own, status, look));
    }
    let sections = [
        ("Interfaces", tables::interfaces(&status.interfaces)),
        (
            "Virtual servers",
            tables::virtual_servers(&status.virtual_servers, &status.pools),
        ),
        ("Backends", tables::backends(&status.pools)),
        ("Probes", nodes::probes(&status.probes)),
        ("Packets by reason", tables::reasons(&status.interfaces)),
    ];
    for (title, table) in sections {
        let table = table.render(look);
        if !table.is_empty() {
            text.push_str(&format!("\n{title}\n{table}"));
        }
    }
    let judgement = Judgement::of(status);
    if judgement.level != Level::Ok {
        text.push_str("\nProblems\n");
        for problem in judgement.problems() {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}
