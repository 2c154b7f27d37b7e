//! `forwarder peer`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::core::pair::secret::Secret;

/// Arguments of `peer`.
#[derive(Debug, Args)]
pub struct Peer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a secret for a pair, in a new file that only its owner can read
    Keygen {
        /// The file; copy it to the other node
        file: PathBuf,
    },
}

pub fn peer(arguments: &Peer) -> Result<ExitCode> {
    let Action::Keygen { file } = &arguments.action;
    keygen(file).with_context(|| format!("{}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn keygen(file: &Path) -> Result<()> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut new = OpenOptions::new();
    let mut new = new.write(true).create_new(true).mode(0o600).open(file)?;
    new.write_all(format!("{}\n", Secret::from(bytes).to_hex()).as_bytes())?;
    Ok(())
}
