//! `cargo xtask bench`: what the forwarder withstands, with real traffic between network namespaces, and what a
//! packet costs in its programs. A file each; a new one is a `mod`, a variant and an arm.

mod change;
mod churn;
mod failover;
mod look;
mod output;
mod own;
mod scale;
mod statistic;
mod whole;

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::{Args, Subcommand};
use forwarder_lab::is_interrupted;

use crate::kernel;
use crate::setup::{self, Purpose};

/// Measure what the forwarder withstands and what it costs (as root)
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    bench: Option<Bench>,
    #[command(flatten)]
    whole: whole::Whole,
}

#[derive(Subcommand)]
enum Bench {
    Change(change::Options),
    Churn(churn::Options),
    Failover(failover::Options),
    Look(look::Options),
    Scale(scale::Options),
    /// CPU time per packet of the XDP programs: builds the forwarder, then `forwarder bench prog`
    Prog(own::Options),
    /// CPU time per packet and connection, beside what users would run instead: builds, then `forwarder bench wire`
    Wire(own::Options),
}

pub fn run(options: &Options) -> Result<ExitCode> {
    kernel::require()?;
    setup::ensure(&[Purpose::Build, Purpose::Demo])?;
    if matches!(options.bench, None | Some(Bench::Wire(_))) {
        setup::ensure(&[Purpose::Rivals])?;
    }
    if matches!(&options.bench, Some(Bench::Failover(options)) if options.is_against_keepalived()) {
        setup::ensure(&[Purpose::Keepalived])?;
    }
    let Some(bench) = &options.bench else {
        return whole::run(&options.whole);
    };
    let result = match bench {
        Bench::Change(options) => change::run(options),
        Bench::Churn(options) => churn::run(options),
        Bench::Failover(options) => failover::run(options),
        Bench::Look(options) => look::run(options),
        Bench::Scale(options) => scale::run(options),
        Bench::Prog(options) => own::run("prog", options),
        Bench::Wire(options) => own::run("wire", options),
    };
    while is_interrupted() {
        // What fails now failed because everything is being removed; the process ends by itself.
        thread::park();
    }
    result
}
