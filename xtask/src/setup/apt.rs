//! Debian packages.

use std::fs;

use anyhow::{Result, bail};

use crate::command::{program, run};
use crate::kernel;

/// This system's packages, as far as this process may install any.
pub struct Apt {
    system: String,
    root: bool,
    updated: bool,
}

impl Apt {
    pub fn new() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self {
            system: system(&release),
            root: kernel::is_root(),
            updated: false,
        }
    }

    pub fn is_debian_12(&self) -> bool {
        self.system == "debian 12"
    }

    pub fn can_install(&self) -> bool {
        self.is_debian_12() && self.root
    }

    /// The system and what is going to happen on it.
    pub fn describe(&self) -> String {
        let user = if self.root { "root" } else { "not root" };
        format!("{}, {user}", self.system)
    }

    /// Installs packages without touching what is there; the lists are fetched before the first one.
    pub fn install(&mut self, packages: &[&str]) -> Result<()> {
        if !self.is_debian_12() {
            bail!("only Debian 12's packages are known here");
        }
        if !self.root {
            bail!("only root may install packages");
        }
        if !self.updated {
            run(program("apt-get", ["update", "-qq"]).args(OPTIONS))?;
            self.updated = true;
        }
        run(program(
            "apt-get",
            [
                "install",
                "-qq",
                "--yes",
                "--no-install-recommends",
                "--no-remove",
            ],
        )
        .args(OPTIONS)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    }
}

/// Another package manager at work is waited for; no progress bars.
const OPTIONS: [&str; 4] = ["-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"];

/// `debian 12` of an `os-release` text.
fn system(release: &str) -> String {
    let value = |key: &str| {
        let line = release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    format!("{} {}", value("ID"), value("VERSION_ID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_named_by_id_and_version() {
        let debian =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(system(debian), "debian 12");
        assert_eq!(system("ID=arch\n"), "arch unknown");
        assert_eq!(system(""), "unknown unknown");
    }
}
