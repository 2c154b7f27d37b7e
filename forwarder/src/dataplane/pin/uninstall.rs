//! Removes what was pinned, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{LINKS, PinDirectory, PinError, UNFINISHED, numbered, numbered_with, versions};

/// What [`uninstall`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Interfaces that it detached from, by index.
    pub interfaces: Vec<u64>,
    /// What is not ours and stays.
    pub left: Vec<PathBuf>,
}

/// Detaches from every interface, then removes every map and program of ours, of every version.
pub fn uninstall(directory: &PinDirectory) -> Result<Removed, PinError> {
    let root = directory.root.as_path();
    let mut removed = Removed::default();
    for version in versions(root)? {
        for (path, ifindex) in numbered(&version.join(LINKS), "")? {
            unlink(&path)?;
            removed.interfaces.push(ifindex);
        }
        for suffix in ["", UNFINISHED] {
            for (path, _) in numbered_with(&version, "g", suffix)? {
                remove_generation(&path)?;
            }
        }
        remove_empty(&version.join(LINKS))?;
        remove_empty(&version)?;
    }
    // A service's directory was made for its user, who could not make it again.
    if directory.own {
        remove_empty(root)?;
    }
    removed.left = entries(root)?;
    Ok(removed)
}

/// Removes a generation. Everything in it is ours: its directory was made by us, for us alone.
pub(super) fn remove_generation(path: &Path) -> Result<(), PinError> {
    for entry in entries(path)? {
        unlink(&entry)?;
    }
    remove_empty(path)
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, PinError> {
    let failed = |error| PinError::io(path, error);
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Removes a file; one that is gone is removed.
pub fn unlink(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PinError::io(path, error)),
        _ => Ok(()),
    }
}

/// Removes a directory unless something is in it, which is not ours then.
pub(super) fn remove_empty(path: &Path) -> Result<(), PinError> {
    match fs::remove_dir(path) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(PinError::io(path, error))
        }
        _ => Ok(()),
    }
}
