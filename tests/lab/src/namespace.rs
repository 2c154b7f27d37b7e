//! One host: a named network namespace.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::iproute::{ip, ip_batch, ip_output};
use crate::leftovers;

/// A network namespace; deleted, with the processes in it, when the last one who has it drops it.
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes the namespace with loopback up. `name` must not exist yet.
    pub(crate) fn create(name: String) -> Result<Self> {
        let making = leftovers::making();
        ip(&["netns", "add", &name])?;
        drop(making);
        let path = leftovers::namespace_path(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                leftovers::remove_namespace(&name);
                return Err(error).with_context(|| format!("open {}", path.display()));
            }
        };
        let namespace = Self(Arc::new(Inner { name, file }));
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `ip` commands in the namespace, one a line, without the leading `ip`.
    pub fn ip(&self, commands: &str) -> Result<()> {
        ip_batch(&["-n", &self.0.name], commands)
    }

    /// The same with `ip -6`, for commands that don't tell the family by their addresses.
    pub fn ip6(&self, commands: &str) -> Result<()> {
        ip_batch(&["-6", "-n", &self.0.name], commands)
    }

    /// What `ip` shows, as JSON: `words` are, for example, `["link", "show", "eth0"]`.
    pub fn show(&self, words: &[&str]) -> Result<serde_json::Value> {
        let output = ip_output(&[&["-json", "-stats", "-n", &self.0.name], words].concat())?;
        serde_json::from_str(&output).with_context(|| format!("ip {words:?} shows {output:?}"))
    }

    /// The MAC address of an interface.
    pub fn mac(&self, device: &str) -> Result<String> {
        let link = self.show(&["link", "show", device])?;
        let mac = link[0]["address"].as_str().context("no MAC address")?;
        Ok(mac.to_owned())
    }

    /// The MAC address that this host knows for a neighbour.
    pub fn neighbour(&self, device: &str, address: IpAddr) -> Result<Option<String>> {
        let shown = self.show(&["neighbour", "show", &address.to_string(), "dev", device])?;
        Ok(shown[0]["lladdr"].as_str().map(str::to_owned))
    }

    /// Writes sysctls, for example `("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                std::fs::write(format!("/proc/sys/{key}"), value)
                    .with_context(|| format!("sysctl {key} = {value} in {}", self.0.name))?;
            }
            Ok(())
        })
    }

    /// Calls `work` in the namespace, on a thread of its own, and waits for it. A socket that
    /// `work` returns stays in the namespace, whoever uses it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let fd = self.0.file.as_raw_fd();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(fd).expect("setns into a namespace that is open");
                work()
            });
            match worker.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Listens for connections in the namespace. As many may come at once as the kernel lets wait: of the 128 that
    /// the standard library allows for, the next one's SYN is lost, and comes again a second later.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let listen = || {
            let listener = TcpListener::bind(address)?;
            // SAFETY: no pointers; a socket that listens takes the new length.
            match unsafe { libc::listen(listener.as_raw_fd(), libc::c_int::MAX) } {
                0 => Ok(listener),
                _ => Err(io::Error::last_os_error()),
            }
        };
        self.run(listen)
            .with_context(|| format!("listen on {address}"))
    }

    /// Starts a thread in the namespace. Threads must end before the namespace can go.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let file = self.0.file.try_clone()?;
        let worker = thread::Builder::new().name(self.0.name.clone());
        Ok(worker.spawn(move || {
            enter(file.as_raw_fd()).expect("setns into a namespace that is open");
            drop(file);
            work()
        })?)
    }

    /// A command that will run in the namespace. Unlike `ip netns exec` it keeps the mounts (bpffs).
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let fd = self.0.file.as_raw_fd();
        let mut command = Command::new(program);
        // SAFETY: setns is async-signal-safe; the descriptor is inherited by the forked child and
        // only closed on exec. It is open as long as `self`, which outlives `spawn` in every caller.
        unsafe { command.pre_exec(move || enter(fd)) };
        command
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        leftovers::remove_namespace(&self.name);
    }
}

fn enter(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed; a bad descriptor is an error.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
