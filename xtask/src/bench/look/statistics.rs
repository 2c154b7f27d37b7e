//! The kernel's counters of how often and how long BPF programs run.

use std::fs;
use std::io;

use anyhow::{Context as _, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// They count until this is dropped; then they are as they were.
pub struct Statistics(String);

impl Statistics {
    /// Lets them count. Needs root.
    pub fn on() -> Result<Self> {
        let set = || -> io::Result<Self> {
            let before = fs::read_to_string(SWITCH)?;
            fs::write(SWITCH, "1")?;
            Ok(Self(before))
        };
        set().with_context(|| format!("{SWITCH} could not be set"))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.0) {
            eprintln!("{SWITCH} could not be set back: {error}");
        }
    }
}
