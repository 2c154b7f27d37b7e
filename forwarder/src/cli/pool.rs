//! `forwarder pool`: pools and their backends, and changes of one that hold until the next reload.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::change::show;
use super::views::{self, ViewArguments};
use super::{Output, SocketArgument};
use crate::admin::api::OverrideRequest;
use crate::admin::client;

/// Arguments of `pool`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Pool {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    view: ViewArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let a backend keep its flows and give it no new ones
    Drain(Member),
    /// Give a backend flows again
    Enable(Member),
    /// Give a backend flows whatever its health check says
    Force(Member),
    /// Give a backend nothing; its flows move at once
    Disable(Member),
    /// Change a backend's share of new flows
    Weight {
        #[command(flatten)]
        member: Member,
        /// Its share, 0 to 100; 0: no new flows
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
    },
}

#[derive(Debug, Args)]
struct Member {
    /// The pool's name
    pool: String,
    /// The backend's name, or its address
    backend: String,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn pool(arguments: &Pool) -> Result<ExitCode> {
    let Some(action) = &arguments.action else {
        return views::pool(&arguments.view).await;
    };
    let (member, state, weight) = match action {
        Action::Drain(member) => (member, Some("drained"), None),
        Action::Enable(member) => (member, Some("enabled"), None),
        Action::Force(member) => (member, Some("forced"), None),
        Action::Disable(member) => (member, Some("disabled"), None),
        Action::Weight { member, weight } => (member, None, Some(*weight)),
    };
    let wanted = OverrideRequest {
        pool: member.pool.clone(),
        backend: member.backend.clone(),
        state: state.map(str::to_owned),
        weight,
    };
    let change = client::set_override(&member.socket.socket, &wanted).await?;
    show(&change, member.output, "changed")
}
