//! Less than the daemon needs: it says what is missing and touches nothing, or does without.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::{Process, Site, copy_program, has_xdp, wait_until};

use super::machine::{LIMIT, text};

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const NOBODY: u32 = 65534;
const CONFIG: &str = "version = 1\n\
    interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n\
    [[virtual_server]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\n\
    mode = \"full-nat\"\npool = \"web\"\nsnat = \"automap\"\n\
    [[pool]]\nname = \"web\"\nbackend = [{ address = \"192.0.2.11\" }]\n";

/// A site with a program and a config that anybody may read, and a directory for the socket that is nobody's.
fn site() -> Result<Site> {
    let site = Site::new(&[], &[])?;
    fs::write(site.directory().join("forwarder.toml"), CONFIG)?;
    copy_program(Path::new(FORWARDER), &site.directory().join("forwarder"))?;
    let run = site.directory().join("run");
    fs::create_dir(&run)?;
    chown(&run, Some(NOBODY), Some(NOBODY))?;
    Ok(site)
}

/// `forwarder run` on the site's forwarder, by way of `wrapper`.
fn command(site: &Site, wrapper: &[&str], run: &Path) -> Command {
    let mut command = site.forwarder.command(wrapper[0]);
    command.args(&wrapper[1..]);
    command.arg(site.directory().join("forwarder")).arg("run");
    command.arg(site.directory().join("forwarder.toml"));
    command.arg("--socket").arg(run.join("forwarder.sock"));
    command
}

/// It must end by itself, with an error, having attached nothing.
fn refusal(site: &Site, mut command: Command) -> Result<String> {
    let output: Output = command.output().context("run")?;
    let said = text(&output);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(
        !said.contains("panicked") && !said.contains("forwarding;"),
        "{said}"
    );
    ensure!(!has_xdp(&site.forwarder, "eth0"), "{said}");
    Ok(said)
}

/// It must forward, and end cleanly.
fn success(site: &Site, command: Command) -> Result<String> {
    let mut process = Process::start(command, &site.directory().join("log"))?;
    let mut ended = None;
    let ready = wait_until("it forwards", LIMIT, || {
        ended = process.ended();
        ended.is_some() || process.output().contains("forwarding;")
    });
    ready.with_context(|| process.output())?;
    ensure!(ended.is_none(), "{}", process.output());
    ensure!(has_xdp(&site.forwarder, "eth0"));
    ensure!(process.interrupt()?.success(), "{}", process.output());
    Ok(process.output())
}

/// A user of no rights, but for these capabilities.
fn capable(capabilities: &[&str]) -> Vec<String> {
    let list = |prefix: &str| {
        let names = capabilities.iter().map(|name| format!("+{name}"));
        let all = std::iter::once("-all".to_owned()).chain(names);
        format!("{prefix}={}", all.collect::<Vec<_>>().join(","))
    };
    let id = NOBODY.to_string();
    vec![
        "setpriv".into(),
        format!("--reuid={id}"),
        format!("--regid={id}"),
        "--clear-groups".into(),
        "--no-new-privs".into(),
        list("--inh-caps"),
        list("--ambient-caps"),
        list("--bounding-set"),
    ]
}

#[test]
fn each_missing_capability_is_named() -> Result<()> {
    let site = site()?;
    let run = site.directory().join("run");
    let four = ["bpf", "net_admin", "perfmon", "net_raw"];
    for missing in four {
        let mut rest = four.to_vec();
        rest.retain(|name| *name != missing);
        let wrapper = capable(&rest);
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let said = refusal(&site, command(&site, &wrapper, &run))?;
        let name = format!("missing CAP_{} (to ", missing.to_uppercase());
        ensure!(said.contains(&name), "{said}");
        ensure!(said.matches("CAP_").count() == 1, "{said}");
    }
    let wrapper = capable(&four);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    success(&site, command(&site, &wrapper, &run)).map(drop)
}

#[test]
fn few_descriptors_little_locked_memory() -> Result<()> {
    let site = site()?;
    let run = site.directory().join("run");
    let said = refusal(&site, command(&site, &["prlimit", "--nofile=64"], &run))?;
    ensure!(
        said.contains("64 files") && said.contains("LimitNOFILE"),
        "{said}"
    );
    // The soft limit is its own to raise; what BPF takes is not locked memory since Linux 5.11.
    let scarce = ["prlimit", "--nofile=64:4096", "--memlock=65536"];
    success(&site, command(&site, &scarce, &run)).map(drop)
}

#[test]
fn nowhere_to_write() -> Result<()> {
    let site = site()?;
    let small = site.directory().join("small");
    fs::create_dir(&small)?;
    let mount = |options: &str, then: &str| {
        format!(
            "mount -t tmpfs -o {options} tmpfs {0}; {then}; exec \"$@\"",
            small.display()
        )
    };
    // A file system of its own for each: the mount is seen by the daemon alone.
    let read_only = mount("ro", ":");
    let no_inode = mount("nr_inodes=1", ":");
    for (script, reason) in [(read_only, "Read-only"), (no_inode, "No space left")] {
        let wrapper = ["unshare", "--mount", "sh", "-ec", &script, "sh"];
        let said = refusal(&site, command(&site, &wrapper, &small))?;
        ensure!(
            said.contains(reason) && said.contains("forwarder.sock"),
            "{said}"
        );
    }
    // The log's disk is full: it forwards, and says nothing.
    let script = "exec \"$@\" 2> /dev/full";
    let wrapper = ["sh", "-ec", script, "sh"];
    let run = site.directory().join("run");
    let mut process = Process::start(
        command(&site, &wrapper, &run),
        &site.directory().join("log"),
    )?;
    let attached = wait_until("it is attached", LIMIT, || has_xdp(&site.forwarder, "eth1"));
    attached.with_context(|| process.output())?;
    ensure!(process.interrupt()?.success());
    ensure!(process.output().is_empty(), "{}", process.output());
    Ok(())
}
