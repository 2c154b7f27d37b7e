//! `forwarder backend`.
use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `backend`.
#[derive(Debug, clap::Args)]
pub struct BackendArguments {}

pub async fn backend(_: BackendArguments) -> Result<ExitCode> {
    bail!("not yet")
}
