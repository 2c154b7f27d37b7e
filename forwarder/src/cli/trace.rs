//! `forwarder trace`.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use super::{Output, SocketArgument, packet, print};
use crate::admin::api::{Trace, TraceRequest};
use crate::admin::client;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArguments {
    /// The packet, in quotes: "tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0"
    #[arg(required = true, num_args = 1.., value_name = "PACKET")]
    packet: Vec<String>,
    /// The interface it comes in by
    #[arg(long = "in", value_name = "INTERFACE")]
    interface: Option<String>,
    /// TCP flags: fin, syn, rst, psh, ack, urg [default: syn]
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    flags: Vec<String>,
    /// Length of the IP packet in bytes [default: headers only]
    #[arg(long, value_name = "BYTES")]
    size: Option<u16>,
    /// TTL or hop limit [default: 64]
    #[arg(long)]
    ttl: Option<u8>,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn trace(arguments: &TraceArguments) -> Result<ExitCode> {
    let (packet, interface) = packet::parse(&arguments.packet.join(" "))?;
    let interface = match (interface, arguments.interface.clone()) {
        (Some(a), Some(b)) if a != b => bail!("--in is given twice: {a} and {b}"),
        (Some(interface), _) | (None, Some(interface)) => interface,
        (None, None) => bail!("which interface does it come in by?  add --in INTERFACE"),
    };
    ensure!(
        packet.protocol == "tcp" || arguments.flags.is_empty(),
        "flags are for tcp only"
    );
    let request = TraceRequest {
        protocol: packet.protocol,
        source: packet.source.0,
        source_port: packet.source.1,
        destination: packet.destination.0,
        destination_port: packet.destination.1,
        interface,
        flags: arguments.flags.clone(),
        size: arguments.size,
        ttl: arguments.ttl,
    };
    let trace = client::trace(&arguments.socket.socket, &request).await?;
    match arguments.output {
        Output::Json => print(&serde_json::to_string_pretty(&trace)?)?,
        Output::Table => print(text(&trace).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(trace: &Trace) -> String {
    let width = trace
        .stages
        .iter()
        .map(|stage| stage.stage.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for stage in &trace.stages {
        text.push_str(&format!("  {:width$}  {}\n", stage.stage, stage.found));
    }
    text.push_str(&format!(
        "\n{}: {}\n  {}\n",
        trace.outcome, trace.reason, trace.meaning
    ));
    if !trace.next.is_empty() {
        text.push_str(&format!("  next: {}\n", trace.next));
    }
    text
}
