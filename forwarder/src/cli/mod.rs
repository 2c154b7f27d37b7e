//! The command line.

mod api;
mod backend;
mod backend_setup;
mod bench;
mod change;
mod check;
mod cloud;
mod config;
mod doctor;
mod documents;
mod explain;
mod flow;
mod history;
mod import;
mod judgement;
mod metrics;
mod nodes;
mod output;
mod pair;
mod peer;
mod pool;
mod run;
mod status;
mod table;
mod tables;
mod trace;
mod uninstall;
mod views;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::admin::default_socket;
use output::{Output, emit};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `check`: the file has no errors
  1  it did not work, and standard error says why
  2  the command line is wrong
  3  `trace`: the packet would be dropped
  4  `trace --last-drop`: no packet was dropped, or none for that reason
  5  `doctor`: something does not work
  6  `doctor`: something could be better
`forwarder status --check` has codes of its own: 0 well, 1 warning, 2 critical, 3 unknown";

/// `cargo xtask reproduce` prints the hash of an object built from the sources.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\neBPF object: sha256 ",
    env!("FORWARDER_OBJECT_HASH")
);

/// VIP forwarder: XDP data plane and control plane for active/standby pairs.
#[derive(Debug, Parser)]
#[command(name = "forwarder", bin_name = "forwarder", version, long_version = VERSION, about, max_term_width = 100, after_help = EXIT_CODES)]
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
    /// Show what a config file would change in a running daemon; touches nothing
    Plan(change::Plan),
    /// Put a config file to work in a running daemon; a bad one changes nothing
    Reload(change::Reload),
    /// Show pools and their backends; drain, enable or disable a backend, or change its weight
    Pool(pool::Pool),
    /// Make the other node of a pair active, or the one that is named; no packet is lost
    Failover(pair::Failover),
    /// Keep this node of a pair from being active, or no longer; the peer takes over if it can
    Maintenance(pair::Maintenance),
    /// What the two nodes of a pair need of each other
    Peer(peer::Peer),
    /// The config file: its schema, examples, and the one that is at work
    Config(config::ConfigArguments),
    /// Explain an error code of a config file, or the reason of a packet
    Explain(explain::Explain),
    /// Show what happened: reloads, changes of health, interfaces, problems
    History(history::HistoryArguments),
    /// Show what a running daemon does
    Status(status::StatusArguments),
    /// Print the metrics of a running daemon, as Prometheus takes them
    Metrics(metrics::MetricsArguments),
    /// Show virtual servers: what they forward, and whether somebody serves them
    Vip(views::ViewArguments),
    /// Show interfaces: how the data plane is attached, and what became of packets
    Interface(views::ViewArguments),
    /// Show which packets were dropped, and why
    Drops(views::ViewArguments),
    /// Show SNAT pools: ports that there are, and that flows have
    Snat(views::ViewArguments),
    /// Show NAT flows, or count them
    Flow(flow::FlowArguments),
    /// Show what would become of a packet; sends and changes nothing
    Trace(trace::TraceArguments),
    /// Stop forwarding: detach and remove everything that `run --pin` left, and nothing else
    Uninstall(uninstall::UninstallArguments),
    /// Print the OpenAPI document of the admin socket
    Api,
    /// Print completions for a shell
    Completions(documents::Completions),
    /// Write the man pages
    Man(documents::Man),
    /// Measure what a packet costs on this machine
    Bench(bench::BenchArguments),
    /// On a backend host: take tunnelled packets (IPIP, GUE) out of their tunnel
    Backend(backend::BackendArguments),
    /// Print what backends need, as a script, or set it on this one
    BackendSetup(backend_setup::BackendSetup),
    /// Turn another product's declaration into a config file, and list what could not be carried over
    Import(import::ImportArguments),
    /// What the cloud has to allow
    Cloud(cloud::CloudArguments),
    /// Look for what a host lacks or has too much of, and say what to do; attaches nothing
    Doctor(doctor::Doctor),
}

/// Where the daemon's socket is.
#[derive(Debug, clap::Args)]
struct SocketArgument {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", default_value_os_t = default_socket())]
    socket: PathBuf,
}

/// Parses the arguments, does what they say, and reports what went wrong.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check(arguments) => check::check(&arguments),
        Command::Run(arguments) => runtime()?.block_on(run::run(arguments)),
        Command::Plan(arguments) => runtime()?.block_on(change::plan(&arguments)),
        Command::Reload(arguments) => runtime()?.block_on(change::reload(&arguments)),
        Command::Pool(arguments) => runtime()?.block_on(pool::pool(&arguments)),
        Command::Failover(arguments) => runtime()?.block_on(pair::failover(&arguments)),
        Command::Maintenance(arguments) => runtime()?.block_on(pair::maintenance(&arguments)),
        Command::Peer(arguments) => peer::peer(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::History(arguments) => runtime()?.block_on(history::history(&arguments)),
        Command::Status(arguments) => runtime()?.block_on(status::status(&arguments)),
        Command::Metrics(arguments) => runtime()?.block_on(metrics::metrics(&arguments)),
        Command::Vip(arguments) => runtime()?.block_on(views::vip(&arguments)),
        Command::Interface(arguments) => runtime()?.block_on(views::interface(&arguments)),
        Command::Drops(arguments) => runtime()?.block_on(views::drops(&arguments)),
        Command::Snat(arguments) => runtime()?.block_on(views::snat(&arguments)),
        Command::Flow(arguments) => runtime()?.block_on(flow::flow(&arguments)),
        Command::Trace(arguments) => runtime()?.block_on(trace::trace(&arguments)),
        Command::Uninstall(arguments) => uninstall::uninstall(&arguments),
        Command::Api => api::api(),
        Command::Completions(arguments) => documents::completions(&arguments, Arguments::command()),
        Command::Man(arguments) => documents::man(&arguments, Arguments::command()),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Backend(arguments) => runtime()?.block_on(backend::backend(arguments)),
        Command::BackendSetup(arguments) => backend_setup::backend_setup(&arguments),
        Command::Import(arguments) => import::import(&arguments),
        Command::Cloud(arguments) => runtime()?.block_on(cloud::cloud(&arguments)),
        Command::Doctor(arguments) => runtime()?.block_on(doctor::doctor(&arguments)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

/// Says what went wrong, on standard error if there still is one.
fn report(error: &anyhow::Error) {
    use std::io::Write as _;
    let text = chain(error);
    // What is wrong with a file says so of itself, once for each, wherever it was checked.
    let says_so = ["error[", "warning["]
        .iter()
        .any(|word| text.starts_with(word));
    let prefix = if says_so { "" } else { "error: " };
    let _ = writeln!(std::io::stderr().lock(), "{prefix}{text}");
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
