//! What a process holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Descriptors and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open descriptors of every kind.
    pub descriptors: u64,
    /// BPF maps among them, each counted once.
    pub maps: u64,
    /// BPF programs among them, each counted once.
    pub programs: u64,
    /// How often they have run while `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    /// Nanoseconds of those runs.
    pub run_time: u64,
    /// Attachments among them.
    pub links: u64,
    /// Bytes of its own memory.
    pub resident: u64,
    /// Bytes of the maps in the kernel's memory.
    pub map_memory: u64,
}

impl Usage {
    /// What a process holds now. Descriptors come and go with requests and health checks.
    pub fn of(process: u32) -> Result<Self> {
        let process = Path::new("/proc").join(process.to_string());
        let mut usage = Self::default();
        let (mut maps, mut programs) = (BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir(process.join("fd"))? {
            let entry = entry?;
            // One that is closed meanwhile is of no interest.
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            usage.descriptors += 1;
            let info = || {
                let path = process.join("fdinfo").join(entry.file_name());
                fs::read_to_string(path).unwrap_or_default()
            };
            match target.to_str().unwrap_or_default() {
                "anon_inode:bpf-map" => {
                    let info = info();
                    let memory = number(&info, "memlock:").unwrap_or(0);
                    maps.insert(number(&info, "map_id:"), memory);
                }
                "anon_inode:bpf-prog" => {
                    let info = info();
                    let of = |name| number(&info, name).unwrap_or(0);
                    let runs = (of("run_cnt:"), of("run_time_ns:"));
                    programs.insert(number(&info, "prog_id:"), runs);
                }
                "anon_inode:bpf_link" => usage.links += 1,
                _ => {}
            }
        }
        usage.maps = maps.len() as u64;
        usage.programs = programs.len() as u64;
        usage.runs = programs.values().map(|(runs, _)| runs).sum();
        usage.run_time = programs.values().map(|(_, time)| time).sum();
        usage.map_memory = maps.values().sum();
        let status = fs::read_to_string(process.join("status"))?;
        usage.resident = number(&status, "VmRSS:").context("no VmRSS")? * 1024;
        Ok(usage)
    }
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
