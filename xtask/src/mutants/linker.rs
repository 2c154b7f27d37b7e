//! A linker that leaves out what the programs use nothing of.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Reading `compiler_builtins` is two thirds of the time that bpf-linker takes for a lean object.
const SCRIPT: &str = r#"#!/bin/sh
for word; do
  shift
  case "$word" in
    */libcompiler_builtins-*) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$BPF_LINKER" "$@"
"#;

/// Writes a script into the directory `at` that runs `linker`, and tells where it is.
pub fn lean(at: &Path, linker: &Path) -> Result<PathBuf> {
    fs::create_dir_all(at).with_context(|| format!("{} can't be made", at.display()))?;
    let path = at.join("bpf-linker");
    let linker = linker
        .to_str()
        .context("the path of bpf-linker is not UTF-8")?;
    let quoted = format!("'{}'", linker.replace('\'', r"'\''"));
    fs::write(&path, SCRIPT.replace("\"$BPF_LINKER\"", &quoted))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(path)
}
