//! `forwarder history`.

use std::process::ExitCode;

use anyhow::Result;

use super::table::{Look, Table};
use super::{Output, SocketArgument, emit};
use crate::admin::api::History;
use crate::admin::client;
use crate::core::time::utc;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct HistoryArguments {
    /// Only the latest so many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    latest: Option<usize>,
    /// Only one kind
    #[arg(long, value_name = "KIND", value_parser = ["config", "override", "health", "interface", "role", "problem"])]
    kind: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn history(arguments: &HistoryArguments) -> Result<ExitCode> {
    let mut history = client::history(&arguments.socket.socket).await?;
    if let Some(kind) = &arguments.kind {
        history.events.retain(|event| event.kind == *kind);
    }
    if let Some(latest) = arguments.latest {
        let older = history.events.len().saturating_sub(latest);
        history.events.drain(..older);
    }
    emit(arguments.output, &history, || {
        if history.events.is_empty() {
            "no such event".to_owned()
        } else {
            table(&history).render(Look::of_output())
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn table(history: &History) -> Table {
    let mut table = Table::new(&["TIME (UTC)", "KIND", "SUBJECT", "WHAT HAPPENED"], &[]);
    for event in &history.events {
        table.row([
            utc(event.at_milliseconds),
            event.kind.clone(),
            event.subject.clone(),
            event.text.clone(),
        ]);
    }
    table
}
