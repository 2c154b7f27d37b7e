//! What a host must have and must not have: found out without attaching anything, told with its fix, and set
//! right where that is safe.

pub mod backend;
mod cloud;
mod ena;
mod finding;
mod interface;
mod machine;
mod network;
mod read;

use std::process::Command;

pub use finding::{Finding, Severity, report};
pub use read::forwarder;

/// Runs commands in a shell, with these variables; an error is what it said.
pub fn run(commands: &[String], variables: &[(&str, String)]) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-ec").arg(commands.join("\n"));
    shell.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = shell.output().map_err(|error| format!("sh: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    })
}
