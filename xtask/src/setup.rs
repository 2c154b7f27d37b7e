//! `cargo xtask setup`: what building, testing and showing the forwarder needs, found or installed.

mod apt;
mod bpffs;
mod find;
mod linker;
mod needs;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

pub use self::needs::Purpose;
use self::needs::{Get, NEEDS, Need};
use crate::command;

/// Install what building and testing needs (Debian 12, as root), or say what is missing
#[derive(Args)]
pub struct Options {
    /// Change nothing: only say what is there and what is missing
    #[arg(long)]
    check: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let all = [
        Purpose::Build,
        Purpose::Test,
        Purpose::Demo,
        Purpose::Machines,
    ];
    prepare(&all, options.check, true)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that everything the given purposes need is there; every task calls this first. Speaks of
/// what is installed or missing only.
///
/// # Errors
/// Something is missing and can't be installed here; the text says what and how to get it.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    prepare(purposes, false, false)
}

fn prepare(purposes: &[Purpose], check: bool, tell_all: bool) -> Result<()> {
    let mut apt = apt::Apt::new();
    let mut missing = Vec::new();
    if tell_all {
        println!("setup: {}", apt.describe());
    }
    for need in NEEDS.iter().filter(|need| need.serves(purposes)) {
        let state = match (need.find)() {
            Ok(_) if !tell_all => continue,
            Ok(what) => format!("there      {what}"),
            Err(reason) if check => {
                missing.push(need);
                format!("MISSING    {reason}")
            }
            Err(reason) => match install(need, &mut apt) {
                Ok(done) => format!("installed  {done}"),
                Err(error) => {
                    missing.push(need);
                    format!("MISSING    {reason}; {error:#}")
                }
            },
        };
        println!("  {:17} {state}\n  {:17} for {}", need.name, "", need.why);
    }
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    let mut advice = String::from("something is missing; get it like this and run the task again:");
    for need in missing {
        let how = if apt.is_debian_12() {
            need.on_debian()
        } else {
            need.elsewhere.to_owned()
        };
        advice += &format!("\n  {}: {how}", need.name);
    }
    bail!("{advice}")
}

/// Gets what a need asks for and looks again whether it is there now.
fn install(need: &Need, apt: &mut apt::Apt) -> Result<String> {
    println!("  {:17} installing, for {}", need.name, need.why);
    match need.get {
        Get::Packages(packages) => apt.install(packages)?,
        Get::Backports(packages) => apt.install_backports(packages)?,
        Get::Linker => linker::install()?,
        Get::Components(names) => {
            command::run(command::program("rustup", ["component", "add"]).args(names))?;
        }
        Get::Bpffs => bpffs::mount()?,
    }
    (need.find)().map_err(|reason| anyhow::anyhow!("installed, and yet: {reason}"))
}
