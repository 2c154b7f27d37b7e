//! The real daemon on real interfaces: it starts, forwards, tells what it does, and leaves nothing
//! behind; what stands against it is said before anything is touched.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Process, Site, client, wait_until};
use serde_json::Value;

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const LIMIT: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

struct Daemon {
    process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a daemon on the site's forwarder and waits until it forwards.
    fn start(site: &Site, config: &str) -> Result<Self> {
        let socket = site.directory().join("run/forwarder.sock");
        let mut command = run(site, config, &socket)?;
        command.env("RUST_LOG", "forwarder=debug");
        let mut process = Process::start(command, &site.directory().join("daemon.log"))?;
        let mut ended = None;
        wait_until("the daemon forwards", LIMIT, || {
            ended = process.ended();
            ended.is_some() || process.output().contains("forwarding;")
        })?;
        ensure!(ended.is_none(), "the daemon ended:\n{}", process.output());
        Ok(Self { process, socket })
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(FORWARDER);
        command.args(arguments).arg("--socket").arg(&self.socket);
        command.output().context("run forwarder")
    }

    /// What the daemon says of itself, for a test that failed.
    fn report(&self) -> String {
        let status = self.ask(&["status"]).map(|output| text(&output));
        format!("{}\n{}", status.unwrap_or_default(), self.process.output())
    }

    fn status(&self) -> Result<Value> {
        let output = self.ask(&["status", "-o", "json"])?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn wait(&self, what: &str, state: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let reached = wait_until(what, LIMIT, || {
            last = self.status().unwrap_or_default();
            state(&last)
        });
        reached.with_context(|| self.report())?;
        Ok(last)
    }
}

fn run(site: &Site, config: &str, socket: &std::path::Path) -> Result<Command> {
    let file = site.directory().join("forwarder.toml");
    fs::write(&file, config)?;
    let mut command = site.forwarder.command(FORWARDER);
    command.arg("run").arg(&file).arg("--socket").arg(socket);
    Ok(command)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn attached(site: &Site, device: &str) -> Result<bool> {
    let show = Command::new("ip")
        .args(["-n", site.forwarder.name(), "link", "show", "dev", device])
        .output()?;
    ensure!(show.status.success(), "{}", text(&show));
    Ok(text(&show).contains("xdp"))
}

fn vips() -> [IpAddr; 2] {
    Family::ALL.map(|family| family.vip(10))
}

/// HTTP and echo on the VIPs of both families, in mode `l2-dsr`.
fn config() -> String {
    let mut config = String::from(
        "version = 1\n\
         [[interface]]\nname = \"outside\"\ndevice = \"eth0\"\n\
         [[interface]]\nname = \"inside\"\ndevice = \"eth1\"\n\
         [[health_check]]\nname = \"alive\"\ntype = \"http\"\npath = \"/health\"\nport = 80\n\
         interval = \"200ms\"\ntimeout = \"150ms\"\n",
    );
    for family in Family::ALL {
        for (port, protocol) in [(HTTP, "tcp"), (ECHO, "udp")] {
            config += &format!(
                "[[virtual_server]]\nname = \"{protocol}-{family}\"\naddress = \"{}\"\n\
                 port = {port}\nprotocol = \"{protocol}\"\nmode = \"l2-dsr\"\n\
                 pool = \"{family}\"\ninterfaces = [\"outside\"]\n",
                family.vip(10),
            );
        }
        config += &format!("[[pool]]\nname = \"{family}\"\nhealth_check = \"alive\"\n");
        for index in 0..3 {
            config += &format!(
                "[[pool.backend]]\naddress = \"{}\"\n",
                family.backend(index)
            );
        }
    }
    config
}

/// Every backend of every pool is like this.
fn backends(status: &Value, like: impl Fn(&Value) -> bool) -> bool {
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    status["pools"].is_array() && backends.all(like)
}

fn ready(status: &Value) -> bool {
    backends(status, |backend| {
        backend["health"] == "up" && backend["next_hop"].is_object()
    })
}

#[test]
fn forwards_and_leaves_nothing_behind() -> Result<()> {
    let site = Site::new(&vips(), &[])?;
    let mut daemon = Daemon::start(&site, &config())?;
    daemon.wait("every backend is up and resolved", ready)?;
    for family in Family::ALL {
        let http = SocketAddr::new(family.vip(10), HTTP);
        let echo = SocketAddr::new(family.vip(10), ECHO);
        for _ in 0..20 {
            let answer = site.client.run(|| client::http::get(http, "/", LIMIT));
            let answer = answer.with_context(|| daemon.report())?;
            ensure!(answer.client_address_kept());
            let answer = site.client.run(|| client::udp::request(echo, 100, LIMIT));
            answer.with_context(|| daemon.report())?;
        }
    }
    let status = daemon.status()?;
    for server in status["virtual_servers"]
        .as_array()
        .context("virtual servers")?
    {
        ensure!(server["in"]["packets"].as_u64() >= Some(20), "{server:#}");
        ensure!(
            server["out"]["packets"] == 0,
            "direct server return: {server:#}"
        );
    }
    for interface in status["interfaces"].as_array().context("interfaces")? {
        ensure!(interface["mode"] == "native", "{interface:#}");
        ensure!(interface["driver"] == "veth", "{interface:#}");
    }
    ensure!(status["problems"] == Value::Array(vec![]), "{status:#}");
    let table = text(&daemon.ask(&["status"])?);
    ensure!(table.contains("udp [2001:db8:113::10]:7"), "{table}");

    ensure!(attached(&site, "eth0")? && attached(&site, "eth1")?);
    let end = daemon.process.interrupt()?;
    ensure!(end.success(), "{end}\n{}", daemon.process.output());
    ensure!(!attached(&site, "eth0")? && !attached(&site, "eth1")?);
    ensure!(!daemon.socket.exists());
    Ok(())
}
