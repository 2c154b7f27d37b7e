//! The daemon in the middle: the program itself, with a config file, as users run it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use forwarder_common::Mode;

use super::router::{BACKENDS, Router, Side};
use crate::bench::scene;
use crate::io::clock;

/// Loading the programs takes that long on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it on a router and waits until it answers.
    pub fn start(binary: &Path, router: &Router, config: &str) -> Result<Self> {
        let parent = std::env::temp_dir();
        let directory = (0..)
            .map(|number| parent.join(format!("{}{number}", prefix())))
            .find(|directory| !directory.exists())
            .context("a directory")?;
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let file = directory.join("forwarder.toml");
        let socket = directory.join("forwarder.sock");
        fs::write(&file, config)?;
        let log = File::create(directory.join("log"))?;
        let mut command = router.network.command(binary);
        command.arg("run").arg(&file).arg("--socket").arg(&socket);
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("the daemon does not start")?;
        let mut daemon = Self { child, directory };
        let begin = clock::monotonic();
        loop {
            let mut status = Command::new(binary);
            status.args(["status", "--socket"]).arg(&socket);
            status.stdin(Stdio::null()).stdout(Stdio::null());
            if status.stderr(Stdio::null()).status()?.success() {
                return Ok(daemon);
            }
            let ended = daemon.child.try_wait()?;
            if ended.is_some() || clock::monotonic() - begin > START {
                let log = fs::read_to_string(daemon.directory.join("log")).unwrap_or_default();
                bail!("the daemon does not get ready:\n{log}");
            }
            super::pause();
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its config file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("forwarder.toml")
    }

    /// Where it answers.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("forwarder.sock")
    }
}

/// How the names of this process's directories begin.
fn prefix() -> String {
    format!("forwarder-bench-{}-", std::process::id())
}

/// Removes the files of all daemons, which end with this process: it is about to.
pub fn remove_files() {
    let prefix = prefix();
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&prefix)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Port of the virtual servers whose backends are on the side of the clients.
pub const NEAR: u16 = 81;

/// Modes that are measured.
pub const MODES: [Mode; 5] = [
    Mode::L2Dsr,
    Mode::IpipDsr,
    Mode::GueDsr,
    Mode::Dnat,
    Mode::FullNat,
];

/// A config file: every mode with as many backends as said, each at its own VIP ([`scene::vip`]), port 80.
pub fn config(router: &Router, protocol: &str, backends: u16) -> String {
    let mut text = String::from(
        "version = 1\n\n[[interface]]\nname = \"left\"\ndevice = \"eth0\"\n\n[[interface]]\nname = \"right\"\ndevice = \"eth1\"\n",
    );
    for ipv6 in [false, true] {
        let family = if ipv6 { 6 } else { 4 };
        for mode in MODES {
            let (name, vip) = (mode.name(), scene::vip(mode, ipv6));
            let snat = match mode {
                Mode::FullNat => "snat = \"automap\"\n",
                _ => "",
            };
            for (pool, port) in [("right", 80), ("left", NEAR)] {
                if pool == "left" && mode != Mode::L2Dsr {
                    continue;
                }
                let _ = write!(
                    text,
                    "\n[[virtual_server]]\nname = \"{name}-{pool}{family}\"\naddress = \"{vip}\"\nport = {port}\n\
                     protocol = \"{protocol}\"\nmode = \"{name}\"\npool = \"{pool}{family}\"\n{snat}"
                );
            }
        }
        for (side, pool) in [(Side::Left, "left"), (Side::Right, "right")] {
            let _ = write!(text, "\n[[pool]]\nname = \"{pool}{family}\"\n");
            for number in 0..backends.min(BACKENDS) {
                let address = router.backend(side, number, ipv6);
                let _ = write!(text, "[[pool.backend]]\naddress = \"{address}\"\n");
            }
        }
    }
    text
}
