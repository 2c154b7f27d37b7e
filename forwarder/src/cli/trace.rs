//! `forwarder trace`.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use forwarder_common::{Outcome, Reason};

use super::tables::duration;
use super::{Output, SocketArgument, emit, print};
use crate::admin::api::{Dropped, Trace, TraceRequest};
use crate::admin::client;
use crate::packet::{self, capture};

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
  3  it would be dropped
  4  --last-drop: no packet was dropped, or none for that reason";

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = WORDS)]
pub struct TraceArguments {
    /// The packet, in quotes: "tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0"
    #[arg(required_unless_present_any = ["pcap", "last_drop"], num_args = 1.., value_name = "PACKET")]
    packet: Vec<String>,
    /// Take the packet from a capture: pcap or pcapng
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "packet",
        requires = "interface"
    )]
    pcap: Option<PathBuf>,
    /// Which packet of the capture, from 1
    #[arg(
        long = "packet",
        value_name = "N",
        default_value = "1",
        requires = "pcap"
    )]
    number: NonZeroUsize,
    /// As if it had been addressed to the interface, whatever MAC address it was sent to
    #[arg(long, requires = "pcap")]
    to_us: bool,
    /// The packet that was dropped last, at the interface it came in by
    #[arg(long, conflicts_with_all = ["packet", "pcap", "interface"])]
    last_drop: bool,
    /// The one that was dropped last for this reason
    #[arg(long, requires = "last_drop", value_parser = PossibleValuesParser::new(drop_reasons()))]
    reason: Option<String>,
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
/// The exit code when there is no such drop.
const NO_DROP: u8 = 4;

fn drop_reasons() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.iter();
    let drops = reasons.filter(|reason| reason.outcome() == Outcome::Drop);
    drops.map(|reason| reason.name())
}

pub async fn trace(arguments: &TraceArguments) -> Result<ExitCode> {
    let request = match &arguments.pcap {
        Some(file) => captured(arguments, file)?,
        None if arguments.last_drop => match last_drop(arguments).await? {
            Ok(request) => request,
            Err(none) => {
                eprintln!("{none}");
                return Ok(ExitCode::from(NO_DROP));
            }
        },
        None => described(arguments)?,
    };
    let trace = client::trace(&arguments.socket.socket, &request).await?;
    emit(arguments.output, &trace, || text(&trace))?;
    Ok(if trace.outcome == "drop" {
        ExitCode::from(DROPPED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The packet that was dropped last, or that there is none.
async fn last_drop(arguments: &TraceArguments) -> Result<Result<TraceRequest, String>> {
    let reason = arguments.reason.as_deref();
    let drops = client::drops(&arguments.socket.socket).await?.drops;
    let of_reason = |each: &Dropped| reason.is_none_or(|reason| each.reason == reason);
    if drops.iter().any(of_reason) {
        return Ok(Ok(TraceRequest {
            last_drop: true,
            reason: arguments.reason.clone(),
            ..TraceRequest::default()
        }));
    }
    let others: Vec<&str> = drops.iter().map(|each| each.reason.as_str()).collect();
    let others = others.join(", ");
    Ok(Err(match reason {
        Some(reason) if others.is_empty() => {
            format!("no packet was dropped as {reason}, nor for any other reason")
        }
        Some(reason) => format!("no packet was dropped as {reason}; others were: {others}"),
        None => "no packet was dropped so far".to_owned(),
    }))
}

/// A packet in words. Wrong ones are said without a daemon, too.
fn described(arguments: &TraceArguments) -> Result<TraceRequest> {
    let words = arguments.packet.join(" ");
    let (_, interface) = packet::parse(&words)?;
    match (&interface, &arguments.interface) {
        (Some(a), Some(b)) if a != b => bail!("--in is given twice: {a} and {b}"),
        (None, None) => bail!("which interface does it come in by?  add --in INTERFACE"),
        _ => (),
    }
    Ok(TraceRequest {
        interface: arguments.interface.clone(),
        packet: Some(words),
        ..TraceRequest::default()
    })
}

/// A packet of a capture.
fn captured(arguments: &TraceArguments, file: &Path) -> Result<TraceRequest> {
    let context = || file.display().to_string();
    let (number, limit) = (arguments.number.get(), capture::MAX_FILE_SIZE);
    let mut bytes = Vec::new();
    let open = File::open(file).with_context(context)?;
    open.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    ensure!(
        bytes.len() <= limit,
        "{}: larger than {} MiB",
        context(),
        limit >> 20
    );
    let mut found = capture::packet(&bytes, number).with_context(context)?;
    if arguments.to_us
        && let Some(to) = found.frame.first_chunk_mut::<6>()
    {
        *to = [0; 6];
    }
    if arguments.output == Output::Table {
        let (there, length) = (found.frame.len(), found.length);
        let cut = if there < length {
            format!(", of which {there} of {length} bytes were captured")
        } else {
            String::new()
        };
        print(&format!(
            "packet {number} of {} in {}{cut}:",
            found.of,
            context()
        ))?;
    }
    let hex = found.frame.iter().map(|byte| format!("{byte:02x}"));
    Ok(TraceRequest {
        interface: arguments.interface.clone(),
        frame: Some(hex.collect()),
        length: u32::try_from(found.length).ok(),
        ..TraceRequest::default()
    })
}

fn text(trace: &Trace) -> String {
    let names = trace.stages.iter().map(|stage| stage.stage.len());
    let width = names.max().unwrap_or(0).max("becomes".len());
    let mut text = trace.dropped.as_ref().map_or_else(String::new, then);
    text += &format!("{}\n\n", trace.packet);
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
    if let Some(dropped) = &trace.dropped
        && dropped.reason == trace.reason
    {
        text += "  So it was when the packet was dropped.\n";
    }
    for step in &trace.next {
        text.push('\n');
        text += &wrap("  next: ", &step.text);
        if let Some(command) = &step.command {
            text += &format!("    {command}\n");
        }
    }
    text
}

/// When and why the packet was dropped.
fn then(dropped: &Dropped) -> String {
    let interface = dropped.interface.as_deref().unwrap_or("?");
    let ago = duration(dropped.seconds_ago);
    let mut text = format!("dropped {ago} ago on {interface}: {}", dropped.reason);
    if dropped.kept < dropped.bytes {
        text += &format!(
            " (the first {} of {} bytes were kept)",
            dropped.kept, dropped.bytes
        );
    }
    text + "\n"
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
