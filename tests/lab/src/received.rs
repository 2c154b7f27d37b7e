//! How many packets an interface has received, cheap enough to ask for in a loop.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// The receive counter of one interface.
pub struct Received {
    devices: File,
    device: String,
}

impl Received {
    /// The counter of `device` in `host`.
    pub fn open(host: &Namespace, device: &str) -> Result<Self> {
        // What the file shows is fixed when it is opened: the namespace of the thread that opens it.
        let devices = host.run(|| File::open("/proc/thread-self/net/dev"))?;
        Ok(Self {
            devices,
            device: format!("{device}:"),
        })
    }

    /// Packets since the interface was made.
    pub fn packets(&self) -> Result<u64> {
        let mut text = [0; 8192];
        let length = self.devices.read_at(&mut text, 0)?;
        let text = std::str::from_utf8(&text[..length])?;
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&self.device))
            .with_context(|| format!("no interface {}", self.device))?;
        // Bytes, then packets.
        let packets = line.split_whitespace().nth(1).context("no counters")?;
        Ok(packets.parse()?)
    }
}
