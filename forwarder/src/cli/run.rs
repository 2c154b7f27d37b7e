//! `forwarder run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::Level;

use super::{SocketArgument, chain};
use crate::dataplane::pin;
use crate::logging;
use crate::node;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The config file
    config: PathBuf,
    /// This node's name, where the file names nodes
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
    /// Log what the data plane does with packets: `debug` what it drops, `trace` every packet
    #[arg(long, value_name = "LEVEL", value_parser = levels())]
    log_dataplane: Option<Level>,
    /// Keep programs, maps and flows pinned in a BPF filesystem: forwarding goes on while the daemon
    /// stops, crashes or is upgraded, until `forwarder uninstall`
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = pin::DEFAULT)]
    pin: Option<PathBuf>,
    /// Load this eBPF object in place of the embedded one
    #[arg(long, value_name = "FILE", hide = true)]
    object: Option<PathBuf>,
}

/// The levels by name, so that `--help` lists them.
fn levels() -> impl TypedValueParser<Value = Level> {
    let names = ["error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Level>())
}

pub async fn run(arguments: Run) -> Result<ExitCode> {
    logging::start(arguments.log_dataplane);
    let ended = node::run(node::Options {
        config: arguments.config,
        node: arguments.node,
        socket: arguments.socket.socket,
        log_dataplane: arguments.log_dataplane,
        pin: arguments.pin,
        object: arguments.object,
    })
    .await;
    match ended {
        // As one message; the lines of standard error would be one each.
        Err(error) if logging::is_journal() => {
            log::error!("{}", chain(&error.into()));
            Ok(ExitCode::FAILURE)
        }
        ended => ended.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}
