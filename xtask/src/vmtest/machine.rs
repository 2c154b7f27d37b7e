//! A machine in QEMU: booted, read from its serial console, and ended.
//!
//! It is emulated (TCG): hosts that are machines themselves often have a `/dev/kvm` that stock kernels hang on.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::command::program;

/// The emulator.
pub const QEMU: &str = "qemu-system-x86_64";
/// `no_timer_check`: on a loaded host the check takes the emulated timer for broken. `panic=-1`: a panic
/// restarts the machine, which ends QEMU.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check";
const MEMORY_MIB: &str = "1024";

/// Boots a kernel with a root file system and hands over every line of its console until the machine ends.
/// False if it had to be ended because `limit` was over.
pub fn run(
    kernel: &Path,
    root: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<bool> {
    let mut child = command(kernel, root)
        .spawn()
        .with_context(|| format!("{QEMU} does not start"))?;
    let console = child.stdout.take().context("standard output is piped")?;
    let lines = read(console);
    let ended = follow(&lines, limit, &mut line);
    end(&mut child, ended)?;
    Ok(ended)
}

fn command(kernel: &Path, root: &Path) -> Command {
    let mut command = program(QEMU, [""; 0]);
    prepare(&mut command, kernel, root);
    command.stdout(Stdio::piped());
    command
}

/// What every machine is started with; its console is standard output.
pub fn prepare(command: &mut Command, kernel: &Path, root: &Path) {
    command
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "2"])
        .args(["-m", MEMORY_MIB])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-append", COMMAND_LINE])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(root);
}

/// The console's lines, read by a thread of their own so that waiting for one has a limit.
fn read(console: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for bytes in BufReader::new(console).split(b'\n') {
            let Ok(bytes) = bytes else { return };
            let text = String::from_utf8_lossy(&bytes);
            if sender.send(text.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

#[expect(
    clippy::disallowed_methods,
    reason = "a machine that hangs must not hang the tests"
)]
fn follow(lines: &Receiver<String>, limit: Duration, line: &mut impl FnMut(&str)) -> bool {
    let end = Instant::now() + limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

fn end(child: &mut Child, ended: bool) -> Result<()> {
    if !ended {
        child.kill()?;
    }
    child.wait()?;
    Ok(())
}
