//! `forwarder failover` and `forwarder maintenance`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::{SocketArgument, print};
use crate::admin::api::{Group, PairRequest, PairStatus, Status};
use crate::admin::client;
use crate::core::pair::group;

/// For the other node to take over.
const PATIENCE: Duration = group::PATIENCE.saturating_add(Duration::from_secs(10));
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Arguments of `failover`.
#[derive(Debug, Args)]
pub struct Failover {
    /// The node that is to be active; without it, the one that is not
    #[arg(
        long,
        value_name = "NODE",
        default_value = "",
        hide_default_value = true
    )]
    to: String,
    /// The group of virtual servers that moves; without, all
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only show what would happen, or why it can't
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    socket: SocketArgument,
}

/// Arguments of `maintenance`.
#[derive(Debug, Args)]
pub struct Maintenance {
    /// Whether this node is kept from being active; it is kept so when the daemon starts again
    #[arg(value_enum)]
    state: Switch,
    #[command(flatten)]
    socket: SocketArgument,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub async fn failover(arguments: &Failover) -> Result<ExitCode> {
    let socket = &arguments.socket.socket;
    let request = PairRequest {
        fail_over_to: Some(arguments.to.clone()),
        group: arguments.group.clone(),
        dry_run: arguments.dry_run,
        ..PairRequest::default()
    };
    let answer = client::pair(socket, &request).await?;
    if answer.steps.is_empty() {
        print(&format!("{} is active already", answer.node))?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.dry_run {
        print(&answer.steps.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let node = &answer.node;
    let only = arguments.group.as_ref();
    let done = |status: &Status, pair: &PairStatus| {
        let here = status.node.as_ref() == Some(node);
        let meant = |group: &&Group| only.is_none_or(|only| only == &group.name);
        let mut meant = pair.groups.iter().filter(meant);
        meant.all(|group| match here {
            true => group.role == "active",
            false => group.role == "standby" && group.peer_role.as_deref() == Some("active"),
        })
    };
    match wait(socket, done).await? {
        Some(_) => print(&format!("{node} is active"))?,
        None => bail!("{node} has not taken over; see `forwarder history --kind role`"),
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn maintenance(arguments: &Maintenance) -> Result<ExitCode> {
    let socket = &arguments.socket.socket;
    let on = arguments.state == Switch::On;
    let request = PairRequest {
        maintenance: Some(on),
        ..PairRequest::default()
    };
    let node = client::pair(socket, &request).await?.node;
    // Who has nobody to hand over to keeps what it has.
    let done = |_: &Status, pair: &PairStatus| {
        pair.maintenance == on && (!on || pair.role == "standby" || !is_able(pair))
    };
    match wait(socket, done).await? {
        Some(pair) if on && pair.role != "standby" => print(&format!(
            "{node} is in maintenance, and stays active until {} can take over",
            pair.peer.name
        ))?,
        Some(_) if on => print(&format!("{node} is in maintenance"))?,
        Some(_) => print(&format!("{node} is no longer in maintenance"))?,
        None => bail!("{node} has not handed over; see `forwarder history --kind role`"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the peer can take over.
fn is_able(pair: &PairStatus) -> bool {
    let peer = &pair.peer;
    peer.health.as_deref() == Some("sound") && peer.maintenance == Some(false)
}

/// The pair once it is as wanted; `None`: it does not get there.
async fn wait(
    socket: &Path,
    done: impl Fn(&Status, &PairStatus) -> bool,
) -> Result<Option<PairStatus>> {
    let looking = async {
        loop {
            let mut status = client::status(socket).await?;
            if let Some(pair) = status.pair.take()
                && done(&status, &pair)
            {
                return Ok(pair);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found.map(Some),
        Err(_) => Ok(None),
    }
}
