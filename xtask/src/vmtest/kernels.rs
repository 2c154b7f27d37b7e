//! The kernels that are booted: Debian's cloud kernels, unpacked below `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::archive::Archive;
use crate::workspace;

/// Kernel lines and the package that always has the newest of the line.
const LINES: [(&str, &str); 2] = [
    ("6.1", "linux-image-cloud-amd64"),
    ("6.12", "linux-image-6.12-cloud-amd64"),
];

/// A kernel on disk.
#[derive(Debug)]
pub struct Kernel {
    /// `6.1`.
    pub line: String,
    /// `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// Where its modules lie.
    pub modules: PathBuf,
}

/// Names of all kernel lines.
pub fn lines() -> Vec<String> {
    LINES.iter().map(|(line, _)| (*line).to_owned()).collect()
}

/// The kernel of a line, fetched if it is not there yet (`cargo clean` makes it so).
pub fn get(line: &str) -> Result<Kernel> {
    let Some((_, metapackage)) = LINES.iter().find(|(name, _)| *name == line) else {
        bail!(
            "kernel {line} is not known; there are {}",
            lines().join(", ")
        );
    };
    let directory = workspace::root().join("target/vm/kernels").join(line);
    if let Ok(kernel) = find(line, &directory) {
        return Ok(kernel);
    }
    let archive = Archive::open()?;
    let package = archive.resolve(metapackage)?;
    println!("fetching {package}");
    let part = directory.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    archive.unpack(&package, &part)?;
    let _ = fs::remove_dir_all(&directory);
    fs::rename(&part, &directory)?;
    find(line, &directory)
}

/// The kernel that was unpacked into `directory`.
fn find(line: &str, directory: &Path) -> Result<Kernel> {
    let modules = ["lib/modules", "usr/lib/modules"];
    let modules = modules.map(|path| directory.join(path));
    let release = modules
        .iter()
        .filter_map(|path| path.read_dir().ok()?.next()?.ok())
        .next()
        .with_context(|| format!("{} has no modules", directory.display()))?;
    let name = release.file_name().to_string_lossy().into_owned();
    let image = directory.join("boot").join(format!("vmlinuz-{name}"));
    if !image.is_file() {
        bail!("{} is missing", image.display());
    }
    Ok(Kernel {
        line: line.to_owned(),
        release: name,
        image,
        modules: release.path(),
    })
}
