//! The program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// Starting may take that long on a loaded machine: every map is made and every program verified.
const START: Duration = Duration::from_secs(120);

/// A running `forwarder run`; killed when dropped.
pub struct Forwarder {
    process: Process,
    binary: PathBuf,
    socket: PathBuf,
    config: PathBuf,
}

impl Forwarder {
    /// Writes `config` to a file in `directory`, starts `binary` on `host` and waits until it forwards.
    ///
    /// # Errors
    /// When it ends or does not get ready: with its output.
    pub fn start(binary: &Path, host: &Namespace, directory: &Path, config: &str) -> Result<Self> {
        Self::start_with(binary, host, directory, config, |_| ())
    }

    /// The same, with whatever `prepare` does to the command.
    ///
    /// # Errors
    /// When it ends or does not get ready: with its output.
    pub fn start_with(
        binary: &Path,
        host: &Namespace,
        directory: &Path,
        config: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let file = directory.join("forwarder.toml");
        let socket = directory.join("forwarder.sock");
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        let mut command = host.command(binary);
        command.arg("run").arg(&file).arg("--socket").arg(&socket);
        without_credentials(&mut command);
        prepare(&mut command);
        let mut forwarder = Self {
            process: Process::start(command, &directory.join("forwarder.log"))?,
            binary: binary.to_owned(),
            socket,
            config: file,
        };
        let mut ended = None;
        let ready = wait_until("`forwarder status` answers", START, || {
            ended = forwarder.process.ended();
            ended.is_some() || forwarder.status().is_ok()
        });
        if let Some(status) = ended {
            bail!("`forwarder run` ended ({status}):\n{}", forwarder.log());
        }
        ready.with_context(|| format!("`forwarder run` says:\n{}", forwarder.log()))?;
        Ok(forwarder)
    }

    /// `forwarder status -o json`.
    pub fn status(&self) -> Result<Value> {
        let output = self.ask(&["status", "-o", "json"])?;
        serde_json::from_str(&output).context("`forwarder status` is not JSON")
    }

    /// What there is to know when something goes wrong: `forwarder status` and the log.
    pub fn diagnosis(&self) -> String {
        let status = self
            .ask(&["status"])
            .unwrap_or_else(|error| format!("{error:#}"));
        format!("{status}\n{}", self.log())
    }

    /// `forwarder trace PACKET`, as people see it.
    pub fn trace(&self, packet: &str) -> Result<String> {
        let output = self.run(&["trace", packet])?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The file it runs with.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The socket it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Runs the command line with these words, against this daemon.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--socket").arg(&self.socket);
        let binary = self.binary.display();
        command.output().with_context(|| format!("start {binary}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.process.signal(libc::SIGHUP);
    }

    /// Stops it where it is (SIGSTOP), or lets it go on (SIGCONT).
    pub fn pause(&self, paused: bool) {
        self.process.pause(paused);
    }

    /// Sends SIGINT and waits for its end.
    pub fn interrupt(&mut self) -> Result<ExitStatus> {
        self.process.end_with(libc::SIGINT)
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.end_with(libc::SIGTERM)
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        ensure!(
            output.status.success(),
            "`forwarder {}` failed: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Starts `forwarder backend` on a host, which takes tunnel headers off what `device` receives.
pub fn decapsulate(
    binary: &Path,
    host: &Namespace,
    device: &str,
    directory: &Path,
) -> Result<Process> {
    let mut command = host.command(binary);
    command.args(["backend", device]);
    let log = directory.join(format!("{}.log", host.name()));
    let mut process = Process::start(command, &log)?;
    let mut ended = None;
    wait_until("XDP is attached on the backend", START, || {
        ended = process.ended();
        ended.is_some() || has_xdp(host, device)
    })?;
    if let Some(status) = ended {
        bail!(
            "`forwarder backend {device}` ended ({status}):\n{}",
            process.output()
        );
    }
    Ok(process)
}

/// Whether an XDP program is attached to a device.
pub fn has_xdp(host: &Namespace, device: &str) -> bool {
    let shown = Command::new("ip")
        .args(["-n", host.name(), "link", "show", device])
        .output();
    shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("prog/xdp"))
}

/// What this machine has of a cloud's credentials is not for programs under test.
fn without_credentials(command: &mut Command) {
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_PROFILE",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ] {
        command.env_remove(name);
    }
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
}
