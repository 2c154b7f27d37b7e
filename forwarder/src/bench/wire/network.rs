//! Network namespaces without names: they last as long as somebody holds them, so nothing is left over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::io::ethtool::{self, Switch};

/// A network namespace.
pub struct Network(File);

impl Network {
    /// Makes one, with loopback up.
    pub fn new() -> Result<Self> {
        let make = || {
            // SAFETY: only this thread's namespace changes, and the thread ends with it.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        };
        let file = thread::scope(|scope| scope.spawn(make).join());
        let file = file.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        let network = Self(file.context("a network namespace cannot be made: is this root?")?);
        network.ip("link set lo up")?;
        Ok(network)
    }

    /// Moves the calling thread there.
    pub fn enter(&self) -> io::Result<()> {
        enter(self.0.as_raw_fd())
    }

    /// Calls `work` there, on a thread of its own. A socket that it returns stays there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let there = || {
            self.enter()?;
            work()
        };
        let result = thread::scope(|scope| scope.spawn(there).join());
        result.map_err(|_| anyhow::anyhow!("a thread panicked"))?
    }

    /// A command that will run there, without standard input, and be killed when this thread ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let fd = self.0.as_raw_fd();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        let prepare = move || {
            // SAFETY: no memory is passed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            enter(fd)
        };
        // SAFETY: prctl and setns are async-signal-safe; the descriptor is open in the forked child.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// Runs a program there with this on its standard input.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("`{program}` does not start: is it installed?"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`{program}` failed: {}\n{input}",
            said.trim()
        );
        Ok(())
    }

    /// Runs `ip` commands there, one a line, without the leading `ip`.
    pub fn ip(&self, commands: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], &format!("{commands}\n"))
    }

    /// Writes sysctls below `net/`.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                fs::write(format!("/proc/sys/net/{key}"), value)
                    .with_context(|| format!("net/{key} = {value}"))?;
            }
            Ok(())
        })
    }

    /// A name for `ip link … netns`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The index of a device.
    pub fn ifindex(&self, device: &str) -> Result<u32> {
        self.run(|| {
            let text = format!("{device}\0");
            let name = std::ffi::CStr::from_bytes_with_nul(text.as_bytes())?;
            // SAFETY: a string with its end.
            match unsafe { libc::if_nametoindex(name.as_ptr()) } {
                0 => Err(io::Error::last_os_error()).context(format!("device {device}")),
                index => Ok(index),
            }
        })
    }

    /// Switches an offload of a device.
    pub fn switch(&self, device: &str, switch: Switch, on: bool) -> Result<()> {
        self.run(|| {
            ethtool::switch(device, switch, on).with_context(|| format!("{switch:?} of {device}"))
        })
    }
}

fn enter(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed; a bad descriptor is an error.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
