//! The real daemon on real interfaces: it starts, forwards, tells what it does, and leaves nothing
//! behind; what stands against it is said before anything is touched.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Process, Site, client, copy_program, wait_until};
use serde_json::Value;

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const LIMIT: Duration = Duration::from_secs(120);

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

fn run(site: &Site, config: &str, socket: &Path) -> Result<Command> {
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

/// Waits until nothing is attached any more: the kernel may take a moment.
fn detached(site: &Site) -> Result<()> {
    wait_until("nothing is attached", LIMIT, || {
        let devices = ["eth0", "eth1"].map(|device| attached(site, device));
        devices.iter().all(|device| matches!(device, Ok(false)))
    })
}

fn multicast(site: &Site) -> Result<String> {
    let mut show = Command::new("ip");
    show.args([
        "-n",
        site.forwarder.name(),
        "maddress",
        "show",
        "dev",
        "eth0",
    ]);
    Ok(text(&show.output()?))
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
         interval = \"200ms\"\ntimeout = \"5s\"\n",
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
fn backends(status: &Value, mut like: impl FnMut(&Value) -> bool) -> bool {
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    status["pools"].is_array() && backends.all(&mut like)
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
    daemon.wait("no problem", |status| {
        status["problems"].as_array().is_some_and(Vec::is_empty)
    })?;
    let table = text(&daemon.ask(&["status"])?);
    ensure!(table.contains("udp [2001:db8:113::10]:7"), "{table}");

    ensure!(
        multicast(&site)?.contains("33:33:ff:00:00:10"),
        "solicitations are received"
    );

    ensure!(attached(&site, "eth0")? && attached(&site, "eth1")?);
    let end = daemon.process.interrupt()?;
    ensure!(end.success(), "{end}\n{}", daemon.process.output());
    detached(&site)?;
    let left: Vec<_> = fs::read_dir(site.directory().join("run"))?.collect();
    ensure!(left.is_empty(), "{left:?}");
    ensure!(!multicast(&site)?.contains("33:33:ff:00:00:10"));
    Ok(())
}

/// Starts a daemon that is to refuse, and returns what it says. Nothing may have been touched.
fn refusal(
    site: &Site,
    config: &str,
    prepare: impl FnOnce(&mut Command) -> Result<()>,
) -> Result<String> {
    let before = links(site)?;
    let socket = site.directory().join("refused/forwarder.sock");
    let mut command = run(site, config, &socket)?;
    prepare(&mut command)?;
    let mut process = Process::start(command, &site.directory().join("refused.log"))?;
    let mut end = None;
    wait_until("the daemon refuses", LIMIT, || {
        end = process.ended();
        end.is_some()
    })
    .with_context(|| process.output())?;
    let said = process.output();
    ensure!(
        end.is_some_and(|end| end.code() == Some(1)),
        "{end:?} {said}"
    );
    ensure!(
        !said.contains("attached,") && !said.contains("panicked"),
        "{said}"
    );
    ensure!(!socket.exists(), "a socket was left");
    let after = links(site)?;
    ensure!(before == after, "something was touched:\n{before}\n{after}");
    Ok(said)
}

/// The forwarder's links with their XDP programs, without the state, which follows a change with a delay.
fn links(site: &Site) -> Result<String> {
    let show = Command::new("ip")
        .args(["-n", site.forwarder.name(), "link"])
        .output()?;
    // What it says beside is about other namespaces, which come and go.
    let shown = String::from_utf8_lossy(&show.stdout).into_owned();
    let lines = shown.lines().map(|line| {
        let (before, state) = line.split_once(" state ").unwrap_or((line, ""));
        let (_, after) = state.split_once(' ').unwrap_or(("", state));
        let words = before.split(' ').filter(|word| !word.starts_with('<'));
        format!("{} {after}\n", words.collect::<Vec<_>>().join(" "))
    });
    Ok(lines.collect())
}

#[test]
fn says_what_stands_against_it_before_anything_is_touched() -> Result<()> {
    let site = Site::new(&vips(), &[])?;
    let refused = |config: &str, says: &[&str]| -> Result<()> {
        let said = refusal(&site, config, |_| Ok(()))?;
        for part in says {
            ensure!(said.contains(part), "no \"{part}\" in:\n{said}");
        }
        Ok(())
    };

    refused(
        "version = 1\nnonsense = 2\n",
        &["nonsense", "forwarder.toml:2"],
    )?;
    refused(
        &config().replace("eth1", "eth7"),
        &["there is no interface eth7", "eth0, eth1"],
    )?;
    refused(
        &config().replace("eth1", "lo").replace("eth0", "eth7"),
        &[
            "there is no interface eth7",
            "lo is not an Ethernet interface",
        ],
    )?;

    // As nobody: the capabilities that are missing are named.
    let binary = site.directory().join("forwarder");
    copy_program(Path::new(FORWARDER), &binary)?;
    let said = refusal(&site, &config(), |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = site.forwarder.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(&binary).args(arguments);
        Ok(())
    })?;
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_NET_RAW"] {
        ensure!(said.contains(name), "{name}: {said}");
    }

    // Frames of several buffers: the packet path takes them, the decapsulator does not.
    site.forwarder
        .ip("link add jumbo type veth peer name far\nlink set jumbo mtu 9000")?;
    let mut backend = site.forwarder.command(FORWARDER);
    let backend = backend.args(["backend", "jumbo"]).output()?;
    let said = text(&backend);
    ensure!(
        !backend.status.success() && said.contains("jumbo has an MTU of 9000"),
        "{said}"
    );
    let daemon = Daemon::start(&site, &config().replace("eth1", "jumbo"))?;
    let status = daemon.status()?;
    ensure!(status["interfaces"][1]["frags"] == true, "{status:#}");
    ensure!(status["interfaces"][0]["frags"] == false, "{status:#}");
    drop(daemon);
    site.forwarder.ip("link del jumbo")?;
    detached(&site).context("a killed daemon's programs go with it")?;

    // Somebody else's program.
    let mut daemon = Daemon::start(&site, &config())?;
    refused(
        &config(),
        &[
            "eth0 already has an XDP program (\"forwarder\", id ",
            "bpftool prog show id",
            "eth1 already has an XDP program",
            "another --socket",
        ],
    )?;

    // A second daemon on the same socket.
    let second = run(&site, &config(), &daemon.socket)?.output()?;
    ensure!(!second.status.success());
    ensure!(
        text(&second).contains("another forwarder daemon is running"),
        "{}",
        text(&second)
    );
    ensure!(daemon.status().is_ok(), "the first daemon goes on");
    daemon.process.interrupt()?;

    // What is in the socket's place is no socket: it stays.
    let file = site.directory().join("precious");
    fs::write(&file, "kept")?;
    let output = run(&site, &config(), &file)?.output()?;
    let said = text(&output);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(
        said.contains("not a socket") && !said.contains("attached,"),
        "{said}"
    );
    ensure!(fs::read(&file)? == b"kept");
    Ok(())
}

#[test]
fn traces_without_sending() -> Result<()> {
    let site = Site::new(&vips(), &[])?;
    let daemon = Daemon::start(&site, &config())?;
    daemon.wait("every backend is up and resolved", ready)?;
    let trace = |packet: &str, more: &[&str]| -> Result<Value> {
        let mut arguments = vec!["trace", packet, "-o", "json"];
        arguments.extend(more);
        let output = daemon.ask(&arguments)?;
        let trace: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{}\n{}", text(&output), daemon.process.output()))?;
        let expected = if trace["outcome"] == "drop" { 3 } else { 0 };
        ensure!(output.status.code() == Some(expected), "{trace:#}");
        Ok(trace)
    };
    let before = daemon.status()?["virtual_servers"].clone();
    for (packet, reason) in [
        (
            "tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0",
            "l2-dsr",
        ),
        (
            "udp [2001:db8:100::7]:1 -> [2001:db8:113::10]:7 --in outside",
            "l2-dsr",
        ),
        ("icmp 198.51.100.7 -> 203.0.113.10 --in eth0", "answer-echo"),
        (
            "icmp 2001:db8:100::7 -> 2001:db8:113::10 --in eth0",
            "answer-echo",
        ),
        (
            "tcp 198.51.100.7:40112 -> 203.0.113.10:81 --in eth0",
            "pass-not-ours",
        ),
        (
            "tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth1",
            "pass-not-ours",
        ),
        (
            "tcp 127.0.0.1:40112 -> 203.0.113.10:80 --in eth0",
            "drop-bad-source",
        ),
    ] {
        let trace = trace(packet, &[])?;
        ensure!(trace["reason"] == reason, "{packet}: {trace:#}");
        // One trace knows nothing of the one before.
        let stages = trace["stages"].as_array().context("stages")?;
        let begun = stages.iter().filter(|stage| stage["stage"] == "interface");
        ensure!(begun.count() == 1, "{packet}: {trace:#}");
    }
    let trace = trace(
        "tcp 198.51.100.7:40112 -> 203.0.113.10:80 ack length 1400",
        &["--in", "eth0"],
    )?;
    let stages = trace["stages"].to_string();
    for part in [
        "virtual-server",
        "tcp-ipv4: tcp 203.0.113.10:80, mode l2-dsr",
        "of pool ipv4",
        "by eth1",
    ] {
        ensure!(stages.contains(part), "no \"{part}\" in {trace:#}");
    }
    ensure!(
        daemon.status()?["virtual_servers"] == before,
        "a trace was counted"
    );

    let refused = daemon.ask(&["trace", "tcp 198.51.100.7:1 -> 203.0.113.10:80 --in eth9"])?;
    ensure!(!refused.status.success() && text(&refused).contains("outside (eth0), inside (eth1)"));
    Ok(())
}

#[test]
fn follows_backends_and_next_hops() -> Result<()> {
    let mut site = Site::new(&vips(), &[])?;
    let daemon = Daemon::start(&site, &config())?;
    daemon.wait("every backend is up and resolved", ready)?;

    // A new MAC address that nobody announces.
    site.backends[0].ip("link set eth0 address 02:00:00:00:00:77")?;
    let address = Family::V4.backend(0).to_string();
    daemon.wait("the new MAC address is used", |status| {
        let mut of = Value::Null;
        backends(status, |backend| {
            if backend["address"] == *address {
                of = backend["next_hop"]["mac"].clone();
            }
            true
        });
        of == "02:00:00:00:00:77"
    })?;

    // A server that is gone.
    site.stop_server(1);
    let gone = Family::V4.backend(1).to_string();
    daemon.wait("the backend is down", |status| {
        let refuses = |backend: &Value| {
            let error = backend["health_error"].as_str().unwrap_or_default();
            backend["health"] == "down" && error.contains("connection failed")
        };
        backends(status, |backend| {
            backend["address"] != *gone || refuses(backend)
        })
    })?;
    let http = SocketAddr::new(Family::V4.vip(10), HTTP);
    for _ in 0..20 {
        let answer = site.client.run(|| client::http::get(http, "/", LIMIT));
        let answer = answer.with_context(|| daemon.report())?;
        ensure!(answer.backend != "b2", "{answer:?}");
    }
    Ok(())
}

#[test]
fn logs_what_the_data_plane_does_when_asked_and_no_more_than_anybody_reads() -> Result<()> {
    let site = Site::new(&vips(), &[])?;
    let socket = site.directory().join("forwarder.sock");
    let mut command = run(&site, &config(), &socket)?;
    command.args(["--log-dataplane", "trace"]);
    let process = Process::start(command, &site.directory().join("daemon.log"))?;
    wait_until("the daemon forwards", LIMIT, || {
        process.output().contains("forwarding;")
    })
    .with_context(|| process.output())?;
    let ping = || {
        let ping = || client::icmp::ping(Family::V4.vip(10), LIMIT);
        site.client.run(ping).with_context(|| process.output())
    };
    ping()?;
    wait_until("packets are logged", LIMIT, || {
        process.output().contains("TRACE")
    })
    .with_context(|| process.output())?;
    // One message a packet would fill a disk.
    let mut lost = Ok(());
    wait_until("messages are held back", LIMIT * 3, || {
        lost = (0..50).try_for_each(|_| ping());
        let log = process.output();
        let mut told = log.lines().filter(|line| line.contains("TRACE"));
        lost.is_err() || told.any(|line| line.contains(" more suppressed, the last: "))
    })
    .with_context(|| process.output())?;
    lost
}
