//! `forwarder trace`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Output, SocketArgument, emit};
use crate::admin::api::{Trace, TraceRequest};
use crate::admin::client;
use crate::packet;

/// What a packet in words looks like.
const WORDS: &str = "\
The packet in words:
  tcp SOURCE:PORT -> DESTINATION:PORT [syn] [ack] [fin] [rst] [psh] [urg] | [no-flags]   [default: syn]
  udp SOURCE:PORT -> DESTINATION:PORT
  icmp SOURCE -> DESTINATION [echo | echo-reply]
  icmp SOURCE -> DESTINATION unreachable | port-unreachable | time-exceeded | too-big MTU  quoting PACKET
  arp SOURCE -> DESTINATION          who has DESTINATION? ARP, or a neighbour solicitation
  ipip SOURCE -> DESTINATION carrying PACKET
  gue SOURCE:PORT -> DESTINATION:PORT carrying PACKET
followed by any of:
  length BYTES                       of the IP packet  [default: headers only]
  ttl N                              TTL or hop limit  [default: 64]
  df | no-df                         IPv4's \"don't fragment\"  [default: df]
  fragment first | OFFSET            a fragment; a later one has no ports
  vlan ID                            a VLAN tag; up to three
  to MAC                             destination MAC address  [default: the interface's]

Exit codes:
  0  it would be forwarded, answered or passed to the host
  1  it could not be traced, and standard error says why
  2  the command line is wrong
  3  it would be dropped";

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = WORDS)]
pub struct TraceArguments {
    /// The packet, in quotes: "tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0"
    #[arg(required = true, num_args = 1.., value_name = "PACKET")]
    packet: Vec<String>,
    /// The interface it comes in by
    #[arg(long = "in", value_name = "INTERFACE")]
    interface: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// The exit code for a packet that is dropped.
const DROPPED: u8 = 3;

pub async fn trace(arguments: &TraceArguments) -> Result<ExitCode> {
    let words = arguments.packet.join(" ");
    // Wrong words are said without a daemon, too.
    let (_, interface) = packet::parse(&words)?;
    match (&interface, &arguments.interface) {
        (Some(a), Some(b)) if a != b => bail!("--in is given twice: {a} and {b}"),
        (None, None) => bail!("which interface does it come in by?  add --in INTERFACE"),
        _ => (),
    }
    let request = TraceRequest {
        interface: arguments.interface.clone(),
        packet: Some(words),
        ..TraceRequest::default()
    };
    let trace = client::trace(&arguments.socket.socket, &request).await?;
    emit(arguments.output, &trace, || text(&trace))?;
    Ok(if trace.outcome == "drop" {
        ExitCode::from(DROPPED)
    } else {
        ExitCode::SUCCESS
    })
}

fn text(trace: &Trace) -> String {
    let names = trace.stages.iter().map(|stage| stage.stage.len());
    let width = names.max().unwrap_or(0).max("becomes".len());
    let mut text = format!("{}\n\n", trace.packet);
    let stages = trace
        .stages
        .iter()
        .map(|stage| (stage.stage.as_str(), &stage.found));
    let becomes = trace
        .becomes
        .iter()
        .filter(|becomes| **becomes != trace.packet);
    for (name, found) in stages.chain(becomes.map(|becomes| ("becomes", becomes))) {
        text += &wrap(&format!("  {name:width$}  "), found);
    }
    text += &format!("\n{}: {}\n", trace.outcome, trace.reason);
    text += &wrap("  ", &trace.meaning);
    for step in &trace.next {
        text.push('\n');
        text += &wrap("  next: ", &step.text);
        if let Some(command) = &step.command {
            text += &format!("    {command}\n");
        }
    }
    text
}

/// Lines of at most a hundred columns; all but the first are indented as far as the first's text.
fn wrap(first: &str, text: &str) -> String {
    const COLUMNS: usize = 100;
    let (mut lines, mut line) = (String::new(), first.to_owned());
    let indent = first.chars().count();
    for word in text.split(' ') {
        let length = line.chars().count();
        if length > indent && length + 1 + word.chars().count() > COLUMNS {
            lines += &format!("{}\n", line.trim_end());
            line = " ".repeat(indent);
        }
        if line.chars().count() > indent {
            line.push(' ');
        }
        line += word;
    }
    lines + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped() {
        assert_eq!(wrap("  next: ", "short"), "  next: short\n");
        let long = ["word"; 40].join(" ");
        let wrapped = wrap("  next: ", &long);
        assert!(wrapped.lines().all(|line| line.len() <= 100), "{wrapped}");
        assert!(
            wrapped
                .lines()
                .skip(1)
                .all(|line| line.starts_with("        word"))
        );
        assert_eq!(wrapped.split_whitespace().count(), 41);
    }
}
