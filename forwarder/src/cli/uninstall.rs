//! `forwarder uninstall`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::print;
use crate::dataplane::pin::{self, PinDirectory};

/// Arguments of `uninstall`.
#[derive(Debug, clap::Args)]
pub struct UninstallArguments {
    /// Where `run --pin` has pinned
    #[arg(long, value_name = "DIR", default_value = pin::DEFAULT)]
    pin: PathBuf,
}

pub fn uninstall(arguments: &UninstallArguments) -> Result<ExitCode> {
    let directory = arguments.pin.display();
    let Some(pins) = PinDirectory::existing(&arguments.pin)? else {
        print(&format!("nothing to remove: there is no {directory}"))?;
        return Ok(ExitCode::SUCCESS);
    };
    let removed = pin::uninstall(&pins)?;
    let indices: Vec<_> = removed.interfaces.iter().map(ToString::to_string).collect();
    let interfaces = match indices.as_slice() {
        [] => "no interface".to_owned(),
        indices => format!("interface {}", indices.join(", ")),
    };
    print(&format!(
        "detached from {interfaces}; programs, maps and flows removed"
    ))?;
    for path in &removed.left {
        print(&format!("not ours, left alone: {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
