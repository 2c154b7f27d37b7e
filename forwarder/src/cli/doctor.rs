//! `forwarder doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::backend_setup::{here, needs, tunnel_end};
use super::print;
use crate::doctor::backend;
use crate::doctor::{Finding, Severity, report};

/// Something does not work.
const ERRORS: u8 = 5;
/// Something works, but not as well as it could.
const WARNINGS: u8 = 6;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The config file
    file: PathBuf,
    /// This host is a backend: check what `backend-setup` sets
    #[arg(long)]
    backend: bool,
    /// With --backend: tunnels end in the kernel's tunnel devices
    #[arg(long, requires = "backend")]
    kernel_tunnels: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn doctor(arguments: &Doctor) -> Result<ExitCode> {
    let mut findings = Vec::new();
    if arguments.backend {
        for (needs, facts) in here(&needs(&arguments.file, None)?)? {
            let steps = backend::steps(needs, tunnel_end(arguments.kernel_tunnels));
            findings.extend(backend::findings(&steps, &facts));
        }
    }
    show(&findings, arguments.json)
}

fn show(findings: &[Finding], json: bool) -> Result<ExitCode> {
    if json {
        print(&serde_json::to_string_pretty(findings)?)?;
    } else {
        print(&report(findings))?;
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(match worst {
        Some(Severity::Error) => ExitCode::from(ERRORS),
        Some(Severity::Warning) => ExitCode::from(WARNINGS),
        _ => ExitCode::SUCCESS,
    })
}
