//! `forwarder pair`: what an operator does with the two nodes.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};

use super::{SocketArgument, print};
use crate::admin::api::{PairRequest, PairStatus};
use crate::admin::client;
use crate::core::pair::secret::Secret;

/// Arguments of `pair`.
#[derive(Debug, Args)]
pub struct Pair {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a secret for a pair, in a new file that only its owner can read
    Keygen {
        /// The file; copy it to the other node
        file: PathBuf,
    },
    /// Make the other node active, or the one that is named; no packet is lost
    Failover {
        /// The node that is to be active
        #[arg(long, value_name = "NODE", default_value = "")]
        to: String,
        /// The group of virtual servers that moves; without, all
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        #[command(flatten)]
        socket: SocketArgument,
    },
    /// Keep this node from being active, or no longer; the peer takes over if it can
    Maintenance {
        /// Whether it is kept from it
        #[arg(value_enum)]
        state: Switch,
        #[command(flatten)]
        socket: SocketArgument,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub async fn pair(arguments: &Pair) -> Result<ExitCode> {
    match &arguments.action {
        Action::Keygen { file } => {
            keygen(file).with_context(|| format!("{}", file.display()))?;
        }
        Action::Failover { to, group, socket } => {
            let request = PairRequest {
                fail_over_to: Some(to.clone()),
                group: group.clone(),
                maintenance: None,
            };
            client::pair(&socket.socket, &request).await?;
            print("asked for; see forwarder status")?;
        }
        Action::Maintenance { state, socket } => {
            let request = PairRequest {
                maintenance: Some(*state == Switch::On),
                ..PairRequest::default()
            };
            client::pair(&socket.socket, &request).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The pair, for people.
pub fn lines(pair: &PairStatus) -> String {
    let maintenance = |on: bool| if on { ", in maintenance" } else { "" };
    let mut text = format!(
        "pair: {}, {}{}\n",
        pair.role,
        pair.health,
        maintenance(pair.maintenance),
    );
    for group in &pair.groups {
        text.push_str(&format!(
            "  group {}: {}, epoch {}, priority {}",
            group.name, group.role, group.epoch, group.priority
        ));
        if let Some(latest) = &group.latest {
            let at = crate::core::time::utc(latest.at_milliseconds);
            text.push_str(&format!("; since {at}: {}", latest.cause));
        }
        text.push('\n');
    }
    let peer = &pair.peer;
    match (&peer.role, &peer.health) {
        (Some(role), Some(health)) => text.push_str(&format!(
            "  peer {}: {role}, {health}{}{}\n",
            peer.name,
            maintenance(peer.maintenance == Some(true)),
            match peer.same_config {
                Some(false) => ", its config file is another",
                _ => "",
            },
        )),
        _ => text.push_str(&format!("  peer {}: nothing heard\n", peer.name)),
    }
    for path in &pair.paths {
        let round_trip = path.round_trip_microseconds;
        let round_trip = round_trip.map(|time| format!(", round trip {time} us"));
        let round_trip = round_trip.unwrap_or_default();
        text.push_str(&format!(
            "  path {} - {}: {}{round_trip}\n",
            path.own, path.peer, path.state
        ));
    }
    for (reason, count) in &pair.refused {
        text.push_str(&format!("  {count} datagrams refused: {reason}\n"));
    }
    text
}

fn keygen(file: &PathBuf) -> Result<()> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let mut new = std::fs::OpenOptions::new();
    let mut new = new.write(true).create_new(true).mode(0o600).open(file)?;
    new.write_all(format!("{}\n", Secret::from(bytes).to_hex()).as_bytes())?;
    Ok(())
}
