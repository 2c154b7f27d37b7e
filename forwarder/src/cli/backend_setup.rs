//! `forwarder backend-setup`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::print;
use crate::config;
use crate::doctor::backend::{self, Facts, Needs, TunnelEnd};
use crate::io::netlink::Netlink;

/// Arguments of `backend-setup`.
#[derive(Debug, clap::Args)]
pub struct BackendSetup {
    /// The config file
    file: PathBuf,
    /// Only this backend [default: all; with --apply: the ones whose addresses this host has]
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<IpAddr>,
    /// Set it on this host, which is the backend; what is set already stays as it is
    #[arg(long, conflicts_with = "windows")]
    apply: bool,
    /// Print a PowerShell script
    #[arg(long)]
    windows: bool,
    /// End tunnels in the kernel's tunnel devices, not in `forwarder backend`
    #[arg(long)]
    kernel_tunnels: bool,
}

pub fn backend_setup(arguments: &BackendSetup) -> Result<ExitCode> {
    let all = needs(&arguments.file, arguments.backend)?;
    let end = tunnel_end(arguments.kernel_tunnels);
    let file = arguments.file.display().to_string();
    if arguments.apply {
        return apply(&all, end);
    }
    print(
        if arguments.windows {
            backend::windows_script(&file, &all)
        } else {
            backend::script(&file, &all, end)
        }
        .trim_end(),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Where tunnels end.
pub fn tunnel_end(kernel: bool) -> TunnelEnd {
    if kernel {
        TunnelEnd::Kernel
    } else {
        TunnelEnd::Xdp
    }
}

/// What the backends of a file need, or one of them.
pub fn needs(file: &std::path::Path, only: Option<IpAddr>) -> Result<Vec<Needs>> {
    let mut all = backend::needs(&config::load(file)?.models);
    if let Some(only) = only {
        all.retain(|each| each.address == only);
        if all.is_empty() {
            bail!(
                "no virtual server of {} has the backend {only}",
                file.display()
            );
        }
    }
    Ok(all)
}

/// Of these, the backends that this host is, with what it has.
pub fn here(all: &[Needs]) -> Result<Vec<(&Needs, Facts)>> {
    let mut netlink = Netlink::open().context("the kernel cannot be asked")?;
    let mut found = Vec::new();
    for needs in all {
        if let Some(facts) = backend::read(&mut netlink, needs.address)? {
            found.push((needs, facts));
        }
    }
    if found.is_empty() {
        let addresses: Vec<_> = all.iter().map(|each| each.address.to_string()).collect();
        bail!(
            "this host is none of the backends: it has no address of {}",
            addresses.join(", ")
        );
    }
    Ok(found)
}

fn apply(all: &[Needs], end: TunnelEnd) -> Result<ExitCode> {
    let mut lines = Vec::new();
    let mut failed = false;
    for (needs, facts) in here(all)? {
        let steps = backend::steps(needs, end);
        let mut tried = backend::apply(&steps, &facts);
        let after = here(std::slice::from_ref(needs))?;
        for (step, finding) in steps.iter().zip(backend::findings(&steps, &after[0].1)) {
            let position = tried.iter().position(|(tried, _)| *tried == step);
            let outcome = position.map(|at| tried.swap_remove(at).1);
            let good = finding.severity == crate::doctor::Severity::Ok;
            let word = match (&outcome, good) {
                (Some(Ok(())), true) => "set",
                (None, true) => "as it was",
                (Some(_), _) => "FAILED",
                (None, false) => "TO DO",
            };
            failed |= word == "FAILED";
            lines.push(format!("{word:9}  {}", finding.message));
            if let Some(Err(said)) = outcome {
                lines.push(format!("           {said}"));
            }
        }
    }
    print(&lines.join("\n"))?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
