//! `forwarder doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::backend_setup::{here, needs, tunnel_end};
use super::print;
use crate::config;
use crate::doctor::backend;
use crate::doctor::{Finding, Severity, forwarder, report, run};

/// Something does not work.
const ERRORS: u8 = 5;
/// Something works, but not as well as it could.
const WARNINGS: u8 = 6;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The config file [default: none; every interface with an address is looked at]
    file: Option<PathBuf>,
    /// This node's name, where the file names nodes
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// This host is a backend: check what `backend-setup` sets
    #[arg(long, requires = "file", conflicts_with = "node")]
    backend: bool,
    /// With --backend: tunnels end in the kernel's tunnel devices
    #[arg(long, requires = "backend")]
    kernel_tunnels: bool,
    /// Set right what can be without cutting anybody off
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn doctor(arguments: &Doctor) -> Result<ExitCode> {
    let mut findings = look(arguments).await?;
    if arguments.fix {
        for finding in findings.iter().filter(|finding| to_be_fixed(finding)) {
            let outcome = run(&finding.fix, &[]).err();
            // Standard output is the findings', as they are afterwards.
            let outcome =
                outcome.map_or_else(|| "done".to_owned(), |said| format!("FAILED: {said}"));
            eprintln!("fix {} of {}: {outcome}", finding.code, finding.subject);
        }
        findings = look(arguments).await?;
    }
    show(&findings, arguments.json)
}

fn to_be_fixed(finding: &Finding) -> bool {
    finding.safe && finding.severity > Severity::Note && !finding.fix.is_empty()
}

async fn look(arguments: &Doctor) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    match &arguments.file {
        Some(file) if arguments.backend => {
            for (needs, facts) in here(&needs(file, None)?)? {
                let steps = backend::steps(needs, tunnel_end(arguments.kernel_tunnels));
                findings.extend(backend::findings(&steps, &facts));
            }
        }
        Some(file) => {
            let model = config::check(file, arguments.node.as_deref())?;
            findings = forwarder(Some(&model))
                .await
                .context("the kernel cannot be asked")?;
        }
        None => {
            findings = forwarder(None)
                .await
                .context("the kernel cannot be asked")?
        }
    }
    Ok(findings)
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
