//! Keeps programs in the kernel's XDP dispatcher.
//!
//! A test run of more than one packet puts its program there and takes it out again, unless it is there
//! already, and each of these waits for every CPU: tens of milliseconds in which caches go cold.

use std::fs::File;
use std::io;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::xdp::XdpMode;

use super::scene::IFINDEX;
use crate::dataplane::bpf::load;

/// Programs on the loopback device of a network namespace each, through which nothing passes.
pub struct Hold {
    _networks: Vec<File>,
}

impl Hold {
    /// Attaches the programs, which are loaded. The calling thread is in a network namespace of its own
    /// from then on.
    pub fn new(ebpf: &mut Ebpf, programs: &[&str]) -> Result<Self> {
        let hold = |name: &&str| {
            let network = network().context("a network namespace cannot be made")?;
            load::program(ebpf, name)?.attach_to_if_index(IFINDEX, XdpMode::Skb)?;
            Ok(network)
        };
        let networks: Result<Vec<File>> = programs.iter().map(hold).collect();
        Ok(Self {
            _networks: networks?,
        })
    }
}

/// Moves the thread into a new network namespace, which lasts as long as the file.
fn network() -> io::Result<File> {
    // SAFETY: only this thread's namespace changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}
