//! `cargo xtask bench`: what the forwarder withstands, with real traffic between network namespaces, and what a
//! packet costs in its programs. A file each; a new one is a `mod`, a variant and an arm.

mod change;
mod churn;
mod failover;
mod look;
mod output;
mod prog;
mod scale;
mod statistic;

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::{Args, Subcommand};
use forwarder_lab::is_interrupted;

use crate::kernel;
use crate::setup::{self, Purpose};

/// Measure what the forwarder withstands and what it costs (as root)
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    Change(change::Options),
    Churn(churn::Options),
    Failover(failover::Options),
    Look(look::Options),
    Scale(scale::Options),
    Prog(prog::Options),
}

pub fn run(options: &Options) -> Result<ExitCode> {
    kernel::require()?;
    setup::ensure(&[Purpose::Build, Purpose::Demo])?;
    let result = match &options.bench {
        Bench::Change(options) => change::run(options),
        Bench::Churn(options) => churn::run(options),
        Bench::Failover(options) => failover::run(options),
        Bench::Look(options) => look::run(options),
        Bench::Scale(options) => scale::run(options),
        Bench::Prog(options) => prog::run(options),
    };
    while is_interrupted() {
        // What fails now failed because everything is being removed; the process ends by itself.
        thread::park();
    }
    result
}
