//! What a process uses, and its maps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A process, by its directory in `/proc`.
pub struct Process(PathBuf);

impl Process {
    /// With this id.
    pub fn new(id: u32) -> Self {
        Self(Path::new("/proc").join(id.to_string()))
    }

    /// CPU time of its threads so far; of those that have ended it knows nothing.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(self.0.join("task"))? {
            // One that ends meanwhile is of no interest.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let own = text.split_whitespace().next();
            sum += own.and_then(|own| own.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Its own memory, bytes.
    pub fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(self.0.join("status"))?;
        let kib = number(&status, "VmRSS:").context("no VmRSS")?;
        Ok((kib * 1_024) as f64)
    }

    /// Memory of its maps in the kernel, bytes.
    pub fn maps(&self) -> Result<f64> {
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(self.0.join("fdinfo"))? {
            let info = fs::read_to_string(entry?.path()).unwrap_or_default();
            if let Some(id) = number(&info, "map_id:") {
                maps.insert(id, number(&info, "memlock:").unwrap_or(0));
            }
        }
        Ok(maps.values().sum::<u64>() as f64)
    }
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
