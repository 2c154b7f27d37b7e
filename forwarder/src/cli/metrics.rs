//! `forwarder metrics`.

use std::process::ExitCode;

use anyhow::Result;

use super::{SocketArgument, print};
use crate::admin::client;

/// Arguments of `metrics`.
#[derive(Debug, clap::Args)]
pub struct MetricsArguments {
    #[command(flatten)]
    socket: SocketArgument,
}

pub async fn metrics(arguments: &MetricsArguments) -> Result<ExitCode> {
    let page = client::metrics(&arguments.socket.socket).await?;
    print(page.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
