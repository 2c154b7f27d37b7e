//! The project's own tasks: `cargo xtask TASK`. One file per task; a new one is a `mod`, a variant and an arm.

mod archive;
mod bench;
mod command;
mod demo;
#[path = "../../forwarder/build/ebpf.rs"]
mod ebpf;
mod kernel;
mod mutants;
mod reproduce;
mod setup;
mod test;
mod tidy;
#[path = "../../forwarder/build/toolchain.rs"]
mod toolchain;
mod verifier;
mod vmpair;
mod vmtest;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of the forwarder project.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::Options),
    Demo(demo::Options),
    Mutants(mutants::Options),
    Reproduce(reproduce::Options),
    Setup(setup::Options),
    Test(test::Options),
    Tidy(tidy::Options),
    Verifier(verifier::Options),
    Vmpair(vmpair::Options),
    Vmtest(vmtest::Options),
}

fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Bench(options) => bench::run(options),
        Task::Demo(options) => demo::run(options),
        Task::Mutants(options) => mutants::run(options),
        Task::Reproduce(options) => reproduce::run(options),
        Task::Setup(options) => setup::run(options),
        Task::Test(options) => test::run(options),
        Task::Tidy(options) => tidy::run(options),
        Task::Verifier(options) => verifier::run(options),
        Task::Vmpair(options) => vmpair::run(options),
        Task::Vmtest(options) => vmtest::run(options),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
