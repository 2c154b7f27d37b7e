//! `ip` of iproute2.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    ip_output(arguments).map(|_| ())
}

/// Runs `ip` with these arguments and returns what it prints.
pub(crate) fn ip_output(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context(MISSING)?;
    check(&output, &arguments.join(" "))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs one command a line, all with these options.
pub(crate) fn ip_batch(options: &[&str], commands: &str) -> Result<()> {
    batch("ip", options, commands)
}

/// The same with `bridge`.
pub(crate) fn bridge_batch(options: &[&str], commands: &str) -> Result<()> {
    batch("bridge", options, commands)
}

fn batch(program: &str, options: &[&str], commands: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(MISSING)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes())?;
    }
    check(
        &child.wait_with_output()?,
        &format!("{}\n{commands}", options.join(" ")),
    )
}

const MISSING: &str = "can't run `ip`: install iproute2";

fn check(output: &Output, command: &str) -> Result<()> {
    if !output.status.success() {
        bail!(
            "ip {command}\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
