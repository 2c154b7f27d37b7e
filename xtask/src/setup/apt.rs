//! Debian packages.

use std::fs;

use anyhow::{Result, ensure};

use crate::archive::Archive;
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
        self.may_install()?;
        if !self.updated {
            run(program("apt-get", ["update", "-qq"]).args(OPTIONS))?;
            self.updated = true;
        }
        let mut apt_get = program("apt-get", INSTALL);
        run(apt_get.args(OPTIONS).args(packages).envs(ENVIRONMENT))
    }

    /// Installs packages of the backports, which the system's package sources need not name.
    pub fn install_backports(&self, packages: &[&str]) -> Result<()> {
        self.may_install()?;
        let mut apt_get = Archive::open()?.apt("apt-get");
        apt_get
            .args(INSTALL)
            .args(["--target-release", "bookworm-backports"]);
        run(apt_get.args(OPTIONS).args(packages).envs(ENVIRONMENT))
    }

    fn may_install(&self) -> Result<()> {
        ensure!(
            self.is_debian_12(),
            "only Debian 12's packages are known here"
        );
        ensure!(self.root, "only root may install packages");
        Ok(())
    }
}

const INSTALL: [&str; 5] = [
    "install",
    "-qq",
    "--yes",
    "--no-install-recommends",
    "--no-remove",
];
const ENVIRONMENT: [(&str, &str); 1] = [("DEBIAN_FRONTEND", "noninteractive")];
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
