//! The command line.

mod backend;
mod check;
mod packet;
mod run;
mod status;
mod table;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::admin::default_socket;

/// VIP forwarder: XDP data plane and control plane for active/standby pairs.
#[derive(Debug, Parser)]
#[command(name = "forwarder", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a config file; touches nothing
    Check(check::Check),
    /// Run the daemon in the foreground, until Ctrl-C or SIGTERM
    Run(run::Run),
    /// Show what a running daemon does
    Status(status::StatusArguments),
    /// Show what would become of a packet; sends and changes nothing
    Trace(trace::TraceArguments),
    /// On a backend host: take tunnelled packets (IPIP, GUE) out of their tunnel
    Backend(backend::BackendArguments),
}

/// Where the daemon's socket is.
#[derive(Debug, clap::Args)]
struct SocketArgument {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", default_value_os_t = default_socket())]
    socket: PathBuf,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Parses the arguments, does what they say, and reports what went wrong.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check(arguments) => Ok(check::check(&arguments)),
        Command::Run(arguments) => runtime()?.block_on(run::run(arguments)),
        Command::Status(arguments) => runtime()?.block_on(status::status(&arguments)),
        Command::Trace(arguments) => runtime()?.block_on(trace::trace(&arguments)),
        Command::Backend(arguments) => runtime()?.block_on(backend::backend(arguments)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

/// An error and its causes, each said once.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
