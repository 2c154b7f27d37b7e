//! Debian's archive through an APT state of our own: nothing that the system's APT knows changes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{output, program, run, shown};
use crate::workspace;

/// Where packages come from. Backports have QEMU 10; kernels are in all three.
const SUITES: [(&str, &str); 3] = [
    ("http://deb.debian.org/debian", "bookworm"),
    ("http://deb.debian.org/debian-security", "bookworm-security"),
    ("http://deb.debian.org/debian", "bookworm-backports"),
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The archive, its package lists fetched.
pub struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Fetches the package lists.
    ///
    /// # Errors
    /// This is no system with APT and Debian's keys, or the archive can't be reached.
    pub fn open() -> Result<Self> {
        let directory = workspace::root().join("target/vm/apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let line = |(uri, suite)| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
        let sources: String = SUITES.into_iter().map(line).collect();
        fs::write(directory.join("sources.list"), sources)?;
        let archive = Self { directory };
        run(archive.apt("apt-get").args(["update", "-qq"]))
            .context("Debian's package lists can't be fetched")?;
        Ok(archive)
    }

    /// `apt-get` or `apt-cache` with this state.
    pub fn apt(&self, tool: &str) -> Command {
        let mut command = program(tool, [""; 0]);
        let set = |key: &str, value: &OsStr| {
            let mut option = std::ffi::OsString::from(key);
            option.push("=");
            option.push(value);
            option
        };
        for (key, value) in [
            ("Dir::State::Lists", self.directory.join("lists")),
            ("Dir::Cache", self.directory.join("cache")),
            ("Dir::Etc::SourceList", self.directory.join("sources.list")),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
        ] {
            command.arg("-o").arg(set(key, value.as_os_str()));
        }
        // Its own user may not write below a home directory.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// The package that a metapackage stands for: the first one it depends on.
    pub fn resolve(&self, metapackage: &str) -> Result<String> {
        let mut command = self.apt("apt-cache");
        command.args(["show", "--no-all-versions", metapackage]);
        let shown = shown(&command);
        output(&mut command)
            .and_then(|text| first_dependency(&text))
            .with_context(|| format!("`{shown}` names no dependency"))
    }

    /// Downloads a package and unpacks it into `directory`.
    pub fn unpack(&self, package: &str, directory: &Path) -> Result<()> {
        let mut download = self.apt("apt-get");
        run(download
            .args(["download", "-qq", package])
            .current_dir(directory))?;
        let deb = fs::read_dir(directory)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension() == Some(OsStr::new("deb")))
            .with_context(|| format!("no {package} was downloaded"))?;
        run(program("dpkg", ["-x"]).arg(&deb).arg(directory))?;
        fs::remove_file(deb)?;
        Ok(())
    }
}

/// The first package of a `Depends:` line.
fn first_dependency(text: &str) -> Option<String> {
    let depends = text
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?;
    let first = depends.split([' ', ',', '(']).next()?;
    Some(first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metapackage_stands_for_its_first_dependency() {
        let text = "Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        let package = Some("linux-image-6.1.0-56-cloud-amd64".to_owned());
        assert_eq!(first_dependency(text), package);
        assert_eq!(first_dependency("Depends: a, b"), Some("a".into()));
        assert_eq!(first_dependency("Package: x"), None);
    }
}
