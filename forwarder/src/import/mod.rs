//! Other products' declarations, taken over into this one's config file.
//!
//! Every property of a declaration is either carried over, or means nothing here because it says what holds
//! anyway, or is in the list of what was left out, with its place and why.

mod as3;
mod cfe;
mod emit;
mod monitor;
mod object;
mod pool;
mod reference;
mod service;
mod why;

use serde::Serialize;
use thiserror::Error;

pub use cfe::FloatingVips;

/// What became of a declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Text of a config file.
    pub config: String,
    /// What is not in it, by place: names in alphabetical order, what is in lists as it stands there.
    pub left_out: Vec<LeftOut>,
}

/// Something that could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// Its place: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Why.
    pub why: String,
}

/// The file is not what it was said to be.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of declaration.
    #[error("it is no {0}: there is no \"class\": \"{1}\" at its top")]
    Class(&'static str, &'static str),
}

/// Turns an AS3 declaration's L4 services into a config file. `floating`: VIPs of which each node has its own.
pub fn as3(text: &str, file: &str, floating: Option<&FloatingVips>) -> Result<Import, ImportError> {
    as3::import(&serde_json::from_str(text)?, file, floating)
}

/// Reads a Cloud Failover declaration: the VIPs of each node, and what could not be carried over.
pub fn cfe(text: &str) -> Result<(FloatingVips, Vec<LeftOut>), ImportError> {
    cfe::read(&serde_json::from_str(text)?)
}

/// A config file of the nodes of a Cloud Failover declaration alone.
pub fn cfe_config(file: &str, floating: &FloatingVips) -> String {
    cfe::config(file, floating)
}

/// One part of a JSON pointer.
fn step(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
