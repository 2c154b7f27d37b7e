//! The configuration at work.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::config::{Config, ConfigErrors, Model};

/// A file that was read, for one node.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where it was read from.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal digits.
    pub hash: String,
    /// The node's name, as it was given.
    pub node: Option<String>,
    /// What it says.
    pub model: Model,
    /// Its warnings, one by one.
    pub warnings: Vec<String>,
}

impl Running {
    /// What a checked file says for a node.
    pub fn new(config: Config, node: Option<String>) -> Result<Self, ConfigErrors> {
        let found = &config.warnings;
        let (file, text) = (PathBuf::from(found.file()), found.text().to_owned());
        let warnings = found.diagnostics().iter();
        let warnings = warnings
            .map(|each| format!("{}: {}", each.code, each.message))
            .collect();
        Ok(Self {
            hash: hash(&text),
            file,
            text,
            model: config.for_node(node.as_deref())?,
            node,
            warnings,
        })
    }
}

fn hash(text: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_what_sha256sum_shows() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::hash("abc"), known);
    }
}
