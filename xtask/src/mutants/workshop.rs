//! A copy of the packet path's sources, where bugs are seeded and objects built.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::patch::LEAN;
use super::table::Mutant;
use crate::ebpf::{self, Builder};
use crate::workspace::{self, File};

/// What is copied, because it is changed or because cargo finds the workspace by it; the rest are links.
const COPIED: &[&str] = &[
    "forwarder-ebpf",
    "forwarder-common",
    "Cargo.toml",
    "Cargo.lock",
];
const FOREIGN: &[&str] = &["target", ".git"];

/// A directory to build mutants in, one after the other.
pub struct Workshop<'a> {
    at: PathBuf,
    builder: &'a Builder,
    /// What is copied, without a bug.
    files: Vec<File>,
}

/// What a build gave.
pub enum Object {
    Built(PathBuf),
    /// The compiler's messages.
    Broken(String),
}

impl<'a> Workshop<'a> {
    /// Sets up a workshop in the directory `at`, or takes up one that is there.
    pub fn new(at: &Path, builder: &'a Builder) -> Result<Self> {
        let (root, source) = (workspace::root(), at.join("src"));
        fs::create_dir_all(&source)
            .with_context(|| format!("{} can't be made", source.display()))?;
        for entry in fs::read_dir(&root)? {
            let name = entry?.file_name();
            if name
                .to_str()
                .is_none_or(|name| COPIED.contains(&name) || FOREIGN.contains(&name))
            {
                continue;
            }
            match std::os::unix::fs::symlink(root.join(&name), source.join(&name)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error)?,
                _ => {}
            }
        }
        let mut files = workspace::files(&root)?;
        files.retain(|file| {
            COPIED
                .iter()
                .any(|copied| Path::new(&file.path).starts_with(copied))
        });
        Ok(Self {
            at: at.to_path_buf(),
            builder,
            files,
        })
    }

    /// Builds the lean object, with a bug or without.
    pub fn build(&self, mutant: Option<&Mutant>) -> Result<Object> {
        for file in mutated(&self.files, mutant)? {
            self.write(&file)?;
        }
        let target = self.at.join("target");
        let output = self
            .builder
            .command(&self.at.join("src"), &target, std::env::consts::ARCH)?
            .arg("--quiet")
            .output()
            .context("cargo could not be started for the eBPF programs")?;
        if output.status.success() {
            Ok(Object::Built(ebpf::object(&target)))
        } else {
            let messages = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(Object::Broken(messages))
        }
    }

    /// Writes a file that is not yet as it should be, so that cargo builds only what has changed.
    fn write(&self, file: &File) -> Result<()> {
        let path = self.at.join("src").join(&file.path);
        if fs::read(&path).is_ok_and(|bytes| bytes == file.text.as_bytes()) {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, &file.text).with_context(|| format!("{} can't be written", path.display()))
    }
}

/// The files of the lean object with the mutant's bug.
fn mutated(files: &[File], mutant: Option<&Mutant>) -> Result<Vec<File>> {
    let mut files = files.to_vec();
    let bug = mutant.map(Mutant::patch);
    for patch in LEAN.iter().copied().chain(bug) {
        let file = files.iter_mut().find(|file| file.path == patch.file);
        let file = file.with_context(|| format!("there is no {}", patch.file))?;
        file.text = patch.apply(&file.text)?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::table::mutants;

    #[test]
    fn every_mutant_fits_the_sources() {
        let files = workspace::files(&workspace::root()).expect("the workspace can be read");
        for mutant in mutants() {
            mutated(&files, Some(mutant))
                .unwrap_or_else(|error| panic!("{}: {error}", mutant.name));
        }
    }

    #[test]
    fn a_mutant_changes_its_file_alone() {
        let files = workspace::files(&workspace::root()).expect("the workspace can be read");
        let lean = mutated(&files, None).expect("the lean patches fit");
        for mutant in mutants() {
            let bug = mutated(&files, Some(mutant)).expect("the mutant fits");
            let changed: Vec<_> = lean
                .iter()
                .zip(&bug)
                .filter(|(before, after)| before.text != after.text)
                .map(|(file, _)| file.path.as_str())
                .collect();
            assert_eq!(changed, [mutant.file], "{}", mutant.name);
        }
    }
}
