//! What a host must have and must not have: found out without touching anything, told with its fix, and set
//! right where that is safe.

pub mod backend;
mod finding;

pub use finding::{Finding, Severity, report};
