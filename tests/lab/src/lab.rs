//! A set of namespaces with one life.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::leftovers;
use crate::namespace::Namespace;

/// Names the namespaces of one network and owns its directory of files.
pub struct Lab {
    prefix: String,
    directory: PathBuf,
}

impl Lab {
    /// A new, empty lab.
    ///
    /// # Errors
    /// Without root, or when the directory for its files can't be made.
    pub fn new() -> Result<Self> {
        // SAFETY: takes and returns plain numbers.
        if unsafe { libc::geteuid() } != 0 {
            bail!("network namespaces and XDP need root: run this as root, for example with sudo");
        }
        leftovers::remove_on_signal()?;
        leftovers::sweep();
        let _making = leftovers::making();
        let prefix = leftovers::new_prefix();
        let directory = std::env::temp_dir().join(format!("{prefix}files"));
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(Self { prefix, directory })
    }

    /// A new host. Addresses come up without duplicate address detection, so they work at once.
    pub fn host(&self, name: &str) -> Result<Namespace> {
        let host = Namespace::create(format!("{}{name}", self.prefix))?;
        host.sysctl(&[
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
        ])?;
        Ok(host)
    }

    /// The prefix of the names of its hosts.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A directory of its own, removed with the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
