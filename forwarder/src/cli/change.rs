//! `forwarder plan` and `forwarder reload`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::{Output, SocketArgument, emit};
use crate::admin::api::{Change, ConfigRequest};
use crate::admin::client;
use crate::config::MAX_FILE_SIZE;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The config file
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// The config file [default: the one that the daemon runs with]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// This node's name, where the file names nodes [default: the daemon's]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn plan(arguments: &Plan) -> Result<ExitCode> {
    let request = request(Some(&arguments.file), &arguments.common)?;
    let change = client::plan(&arguments.common.socket.socket, &request).await?;
    show(&change, arguments.common.output, "would change")
}

pub async fn reload(arguments: &Reload) -> Result<ExitCode> {
    let request = request(arguments.file.as_deref(), &arguments.common)?;
    let change = client::reload(&arguments.common.socket.socket, &request).await?;
    show(&change, arguments.common.output, "changed")
}

/// The file is read here, by whoever asks: the daemon may not be allowed to, or see another one.
fn request(file: Option<&Path>, common: &Common) -> Result<ConfigRequest> {
    let mut request = ConfigRequest {
        node: common.node.clone(),
        ..ConfigRequest::default()
    };
    if let Some(file) = file {
        let shown = file.display();
        let bytes = std::fs::read(file).with_context(|| format!("{shown}: can't be read"))?;
        let size = MAX_FILE_SIZE >> 20;
        ensure!(
            bytes.len() <= MAX_FILE_SIZE,
            "{shown}: larger than {size} MiB"
        );
        let text = String::from_utf8(bytes).with_context(|| format!("{shown}: not UTF-8 text"))?;
        request.text = Some(text);
        request.file = Some(std::path::absolute(file)?);
    }
    Ok(request)
}

/// Prints a change.
pub fn show(change: &Change, output: Output, verb: &str) -> Result<ExitCode> {
    emit(output, change, || {
        for warning in &change.warnings {
            eprintln!("warning: {warning}");
        }
        text(change, verb)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(change: &Change, verb: &str) -> String {
    if change.changes.is_empty() && change.ops.is_empty() {
        return format!("nothing {verb}");
    }
    let mut text = String::new();
    for each in &change.changes {
        let sign = match each.change.as_str() {
            "add" => "+",
            "remove" => "-",
            _ => "~",
        };
        text.push_str(&format!("{sign} {} {}\n", each.kind, each.name));
        for detail in &each.details {
            text.push_str(&format!("    {detail}\n"));
        }
    }
    text.push_str(&format!("\n{} map elements {verb}\n", change.ops.len()));
    for op in &change.ops {
        let value = op.value.as_deref().map(|value| format!(": {value}"));
        let value = value.unwrap_or_default();
        text.push_str(&format!("  {} {} {}{value}\n", op.op, op.table, op.key));
    }
    text
}
