//! The config file: good ones give the model they should, bad ones the errors they should, and
//! nothing panics.
//!
//! `BLESS=1` writes the expected files and the tables of the documentation anew; read the diff.

#[path = "config/documentation.rs"]
mod documentation;
#[path = "config/files.rs"]
mod files;
#[path = "config/models.rs"]
mod models;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "config/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use forwarder::config::{self, Code};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `.toml` files of a directory, in order.
fn toml_files(directory: &str) -> Vec<PathBuf> {
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

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

#[test]
fn bad_files_give_the_expected_errors() {
    let files = toml_files("tests/config/bad");
    assert!(files.len() >= 40, "only {} bad files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let expected_at = path.with_extension("txt");
        let found = report(&path) + "\n";
        if blessing() {
            fs::write(&expected_at, &found).expect("a writable directory");
        }
        let expected = fs::read_to_string(&expected_at).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}--- found\n{found}",
                name(&path)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_have_neither_errors_nor_warnings() {
    for path in toml_files("examples") {
        assert_eq!(report(&path), format!("{}: good", name(&path)));
    }
}

/// Codes about what is no file in a repository: see `files` and `models`.
const TESTED_ELSEWHERE: [Code; 10] = [
    Code::FileNotFound,
    Code::UnreadableFile,
    Code::FileTooLarge,
    Code::NotText,
    Code::NodeRequired,
    Code::TooManyPrefixes,
    Code::TooManyInterfaces,
    Code::TooManyAddresses,
    Code::TooManySnatPools,
    Code::TooManyEgress,
];

#[test]
fn every_code_is_in_a_bad_file() {
    let mut seen = BTreeSet::new();
    for path in toml_files("tests/config/bad") {
        let parsed = config::parse_bytes(&name(&path), fs::read(&path).expect("a readable file"));
        let diagnostics = match &parsed {
            Ok(config) => config.warnings.diagnostics(),
            Err(errors) => errors.diagnostics(),
        };
        seen.extend(diagnostics.iter().map(|diagnostic| diagnostic.code));
    }
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code) && !TESTED_ELSEWHERE.contains(code))
        .map(|code| code.name())
        .collect();
    assert!(missing.is_empty(), "no bad file shows {missing:?}");
}
