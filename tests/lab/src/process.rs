//! A program running in a namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::leftovers;

/// A child process whose output goes to a file; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; standard output and error go to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let _making = leftovers::making();
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// What it has written.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: no memory is passed; the child is waited for only when it is dropped or has
        // ended, so the id is nobody else's.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// Stops it where it is (SIGSTOP), or lets it go on (SIGCONT).
    pub fn pause(&self, paused: bool) {
        self.signal(if paused { libc::SIGSTOP } else { libc::SIGCONT });
    }

    /// The same with its children.
    pub fn pause_all(&self, paused: bool) {
        self.pause(paused);
        self.signal_children(if paused { libc::SIGSTOP } else { libc::SIGCONT });
    }

    /// Kills it with its children, so that none of them notices that another one is gone.
    pub fn kill_all(&self) {
        self.pause(true);
        self.signal_children(libc::SIGKILL);
        self.signal(libc::SIGKILL);
    }

    fn signal_children(&self, signal: libc::c_int) {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            if let Ok(child) = child.parse() {
                // SAFETY: no memory is passed; it has a parent, which does not wait for it just now.
                unsafe { libc::kill(child, signal) };
            }
        }
    }

    /// Sends SIGTERM and waits until it has ended.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.end_with(libc::SIGTERM)
    }

    /// Sends SIGINT and waits until it has ended.
    pub fn interrupt(&mut self) -> Result<ExitStatus> {
        self.end_with(libc::SIGINT)
    }

    /// Sends a signal and waits until it has ended.
    pub fn end_with(&mut self, signal: libc::c_int) -> Result<ExitStatus> {
        self.signal(signal);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > Duration::from_secs(120) {
                bail!(
                    "still runs two minutes after signal {signal}; its output:\n{}",
                    self.output()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
