//! `forwarder flow`.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Result;

use super::table::{Look, Table};
use super::{Output, SocketArgument, emit};
use crate::admin::api::{FlowQuery, Flows};
use crate::admin::client;

/// Arguments of `flow`.
#[derive(Debug, clap::Args)]
pub struct FlowArguments {
    /// Only flows with this address at one of their ends: client, VIP, backend, SNAT
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Only flows with this port at one of their ends
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only flows in this state
    #[arg(long, value_name = "STATE", value_parser = ["half-open", "established", "closing"])]
    state: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Count them all instead
    #[arg(long, conflicts_with = "limit")]
    count: bool,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn flow(arguments: &FlowArguments) -> Result<ExitCode> {
    let query = FlowQuery {
        address: arguments.address,
        port: arguments.port,
        state: arguments.state.clone(),
        limit: Some(arguments.limit),
        count: arguments.count,
    };
    let flows = client::flows(&arguments.socket.socket, &query).await?;
    emit(arguments.output, &flows, || text(&flows))?;
    Ok(ExitCode::SUCCESS)
}

fn text(flows: &Flows) -> String {
    if let Some(count) = flows.count {
        return format!("{count} NAT flows");
    }
    if flows.flows.is_empty() {
        return "no such NAT flow (the DSR modes keep none)".to_owned();
    }
    let mut table = Table::new(
        &[
            "PROTOCOL", "CLIENT", "VIP", "SOURCE", "BACKEND", "STATE", "IDLE",
        ],
        &[6],
    );
    for flow in &flows.flows {
        table.row([
            flow.protocol.clone(),
            flow.client.to_string(),
            flow.destination.to_string(),
            if flow.source == flow.client {
                "-".to_owned()
            } else {
                flow.source.to_string()
            },
            if flow.to == flow.destination {
                "-".to_owned()
            } else {
                flow.to.to_string()
            },
            flow.state.clone(),
            format!("{}s", flow.idle_seconds),
        ]);
    }
    let more = if flows.more {
        "\nthere are more: --limit, --count, or a narrower filter"
    } else {
        ""
    };
    format!("{}{more}", table.render(Look::of_output()))
}
