//! `forwarder api`.

use std::process::ExitCode;

use anyhow::Result;

use super::print;
use crate::admin::openapi;

pub fn api() -> Result<ExitCode> {
    print(&serde_json::to_string_pretty(&openapi::document())?)?;
    Ok(ExitCode::SUCCESS)
}
