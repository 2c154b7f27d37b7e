//! A network namespace of the calling thread, with the scene's interfaces, routes and neighbours.

use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

use crate::scene;

/// Runs `body` in a thread that has a network namespace of its own.
pub fn in_namespace<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> T {
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                enter()?;
                body()
            })
            .join()
    });
    match outcome {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("{error:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn enter() -> Result<()> {
    // SAFETY: no arguments beyond the flag; only this thread's namespace changes.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    ensure!(
        result == 0,
        "packet tests need root (unshare: {})",
        std::io::Error::last_os_error()
    );
    for line in scene::NETWORK
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        run(line)?;
    }
    Ok(())
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("a command")?;
    if program == "write" {
        let (Some(path), Some(value)) = (words.next(), words.next()) else {
            bail!("`{line}`: a file and a value");
        };
        return std::fs::write(path, value).with_context(|| format!("`{line}` failed"));
    }
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(program)
        .args(words)
        .env("PATH", path)
        .output()
        .with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
