//! How answers are printed: for people or for programs.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::{print, yaml};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and text, for people
    Table,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

/// Prints a value, or what people are shown in its place.
pub fn emit<T: Serialize>(output: Output, value: &T, table: impl FnOnce() -> String) -> Result<()> {
    let text = match output {
        Output::Table => table(),
        Output::Json => serde_json::to_string_pretty(value)?,
        Output::Yaml => yaml::text(&serde_json::to_value(value)?),
    };
    print(text.trim_end())
}
