//! The config file: good ones give the model they should, bad ones the errors they should, and
//! nothing panics.

use std::fs;
use std::path::{Path, PathBuf};

use forwarder::config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `.toml` files of a directory, in order.
fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).expect("the directory exists");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {directory}");
    files
}

fn name(path: &Path) -> String {
    path.file_name()
        .expect("a file name")
        .to_string_lossy()
        .into_owned()
}

/// What `check` says about a file, named without its directory.
fn report(path: &Path) -> String {
    match config::parse_bytes(&name(path), fs::read(path).expect("a readable file")) {
        Ok(config) => config.warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn examples_have_neither_errors_nor_warnings() {
    for path in files("examples") {
        assert_eq!(report(&path), format!("{}: no errors", name(&path)));
    }
}
