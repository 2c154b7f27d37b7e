//! `forwarder backend`.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::config::Prefix;
use crate::dataplane::attach::Target;
use crate::logging;
use crate::node::{self, BackendOptions};

/// Arguments of `backend`.
#[derive(Debug, clap::Args)]
pub struct BackendArguments {
    /// The interface that tunnels come in by
    #[arg(value_name = "DEVICE")]
    device: String,
    /// A VIP that this host serves; may be repeated [default: the addresses on loopback]
    #[arg(long, value_name = "ADDRESS")]
    vip: Vec<IpAddr>,
    /// A prefix that tunnels may come from; may be repeated [default: anywhere]
    #[arg(long, value_name = "PREFIX")]
    allow_source: Vec<String>,
    /// UDP port of GUE
    #[arg(long, value_name = "PORT", default_value_t = 6080)]
    gue_port: u16,
    /// Attach in the network stack where the driver has no native XDP
    #[arg(long)]
    allow_generic: bool,
}

pub async fn backend(arguments: BackendArguments) -> Result<ExitCode> {
    let mut sources = arguments.allow_source;
    if sources.is_empty() {
        sources = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    }
    let sources = sources
        .iter()
        .map(|text| prefix(text))
        .collect::<Result<_>>()?;
    logging::start(None);
    node::backend(BackendOptions {
        target: Target {
            device: arguments.device,
            allow_generic: arguments.allow_generic,
            may_be_missing: false,
        },
        vips: arguments.vip.into_iter().collect(),
        sources,
        gue_port: arguments.gue_port,
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

fn prefix(text: &str) -> Result<Prefix> {
    let form = || format!("\"{text}\" is not a prefix such as 192.0.2.0/24");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().with_context(form)?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(whole), str::parse).with_context(form)?;
    Prefix::of(address, length).with_context(form)
}
