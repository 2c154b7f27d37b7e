//! `forwarder status`.

use std::process::ExitCode;

use anyhow::Result;

use super::table::{Table, bold, short};
use super::{Output, SocketArgument, print};
use crate::admin::api::{Backend, Count, Status};
use crate::admin::client;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn status(arguments: &StatusArguments) -> Result<ExitCode> {
    let status = client::status(&arguments.socket.socket).await?;
    match arguments.output {
        Output::Json => print(&serde_json::to_string_pretty(&status)?)?,
        Output::Table => print(text(&status, bold()).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status, bold: bool) -> String {
    let node = status
        .node
        .as_ref()
        .map(|node| format!("node {node}, "))
        .unwrap_or_default();
    let mut text = format!(
        "forwarder {}, {node}up {}\nconfig {}, sha256 {}, generation {}\n",
        status.version,
        duration(status.uptime_seconds),
        status.config,
        status.config_hash.get(..12).unwrap_or_default(),
        status.config_generation,
    );
    if let Some(error) = &status.config_error {
        text.push_str(&format!("the last reload changed nothing:\n{error}\n"));
    }
    let sections = [
        ("Interfaces", interfaces(status)),
        ("Virtual servers", virtual_servers(status)),
        ("Backends", backends(status)),
        ("Packets by reason", reasons(status)),
    ];
    for (title, table) in sections {
        let table = table.render(bold);
        if !table.is_empty() {
            text.push_str(&format!("\n{title}\n{table}"));
        }
    }
    if !status.problems.is_empty() {
        text.push_str("\nProblems\n");
        for problem in &status.problems {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}

fn interfaces(status: &Status) -> Table {
    let mut table = Table::new(
        &["NAME", "DEVICE", "DRIVER", "XDP", "MAC", "MTU", "ADDRESSES"],
        &[5],
    );
    for interface in &status.interfaces {
        let mode = interface.mode.as_deref().unwrap_or("not attached");
        let addresses: Vec<_> = interface
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        table.row([
            interface.name.clone(),
            interface.device.clone(),
            interface.driver.clone(),
            if interface.frags {
                format!("{mode}, frags")
            } else {
                mode.to_owned()
            },
            interface.mac.clone(),
            interface.mtu.to_string(),
            addresses.join(" "),
        ]);
    }
    table
}

fn virtual_servers(status: &Status) -> Table {
    let mut table = Table::new(
        &["NAME", "VIP", "MODE", "POOL", "IN", "BYTES", "OUT", "BYTES"],
        &[4, 5, 6, 7],
    );
    for server in &status.virtual_servers {
        let [r#in, in_bytes] = count(server.r#in);
        let [out, out_bytes] = count(server.out);
        let address = if server.address.is_ipv6() {
            format!("[{}]", server.address)
        } else {
            server.address.to_string()
        };
        table.row([
            server.name.clone(),
            format!("{} {address}:{}", server.protocol, server.port),
            server.mode.clone(),
            server.pool.clone().unwrap_or_else(|| "-".into()),
            r#in,
            in_bytes,
            out,
            out_bytes,
        ]);
    }
    table
}

fn backends(status: &Status) -> Table {
    let mut table = Table::new(
        &[
            "POOL", "BACKEND", "WEIGHT", "STATE", "HEALTH", "NEXT HOP", "IN", "BYTES", "OUT",
            "BYTES",
        ],
        &[2, 6, 7, 8, 9],
    );
    for pool in &status.pools {
        for backend in &pool.backends {
            let [r#in, in_bytes] = count(backend.r#in);
            let [out, out_bytes] = count(backend.out);
            table.row([
                pool.name.clone(),
                backend.name.clone(),
                or_file(backend.weight.to_string(), backend, "weight"),
                or_file(backend.state.clone(), backend, "state"),
                health(backend),
                match &backend.next_hop {
                    Some(hop) => format!("{} {}", hop.device, hop.mac),
                    None => "not resolved".into(),
                },
                r#in,
                in_bytes,
                out,
                out_bytes,
            ]);
        }
    }
    table
}

/// A value, and the file's where that is another.
fn or_file(value: String, backend: &Backend, key: &str) -> String {
    match backend.overrides.get(key) {
        Some(file) => format!("{value} (file: {file})"),
        None => value,
    }
}

/// Up or down, since when, and what there is to say of it.
fn health(backend: &Backend) -> String {
    let Some(check) = &backend.health_check else {
        return backend.health.clone();
    };
    let mut text = format!("{} {}", backend.health, duration(check.since_seconds));
    if check.share_percent < 100 {
        text += &format!(", slow start {} %", check.share_percent);
    }
    if let Some(held) = check.held_seconds {
        text += &format!(", held {} more", duration(held));
    }
    match &backend.health_error {
        Some(error) => format!("{text} ({error})"),
        None => text,
    }
}

fn reasons(status: &Status) -> Table {
    let mut table = Table::new(&["INTERFACE", "REASON", "PACKETS", "BYTES"], &[2, 3]);
    for interface in &status.interfaces {
        for reason in &interface.reasons {
            let [packets, bytes] = count(reason.count);
            table.row([
                interface.name.clone(),
                reason.reason.clone(),
                packets,
                bytes,
            ]);
        }
    }
    table
}

fn count(count: Count) -> [String; 2] {
    [short(count.packets), short(count.bytes)]
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
