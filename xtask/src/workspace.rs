//! Where the workspace lies and which files are its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_path_buf()
}

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub struct File {
    /// Path relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

/// Every text file below `root`, without build output and git's own, in the order of their paths.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in
            fs::read_dir(&dir).with_context(|| format!("{} can't be read", dir.display()))?
        {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                let foreign = entry.file_name() == "target" || entry.file_name() == ".git";
                pending.extend((!foreign).then_some(path));
            } else if kind.is_file() && entry.file_name() != ".git" {
                let bytes =
                    fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
                let Ok(text) = String::from_utf8(bytes) else {
                    continue;
                };
                let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
                files.push(File { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
