//! A site whose forwarder pins in a BPF filesystem of its own: the daemon comes and goes, forwarding stays.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bpffs::BpfFs;
use crate::client::http;
use crate::forwarder::Forwarder;
use crate::site::{BACKENDS, ECHO, Family, HTTP, Site};
use crate::wait::wait_until;

/// Nothing here takes that long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(120);
/// For an answer that is asked for again if there is none.
const ANSWER: Duration = Duration::from_secs(3);
/// The number of the VIP in mode `l2-dsr`.
pub const DIRECT: u8 = 10;
/// The number of the VIP in mode `full-nat`.
pub const NAT: u8 = 11;

/// Dropped in this order.
pub struct Pinned {
    /// The daemon, while it runs.
    pub forwarder: Option<Forwarder>,
    /// Where it pins.
    pub bpf: BpfFs,
    /// Where it forwards.
    pub site: Site,
    binary: PathBuf,
}

impl Pinned {
    /// A site without a daemon.
    pub fn new(binary: &Path) -> Result<Self> {
        let vips: Vec<IpAddr> = Family::ALL.map(|family| family.vip(DIRECT)).into();
        let site = Site::new(&vips, &[])?;
        let mount = site.directory().join("bpf");
        fs::create_dir(&mount)?;
        Ok(Self {
            forwarder: None,
            bpf: BpfFs::mount(&mount)?,
            site,
            binary: binary.to_owned(),
        })
    }

    /// Starts the daemon with a config; `prepare` may add arguments.
    pub fn run(&mut self, config: &str, prepare: impl FnOnce(&mut Command)) -> Result<()> {
        let directory = self.site.directory();
        let pin = format!("--pin={}", self.pins().display());
        let prepare = |command: &mut Command| {
            command.arg(pin);
            self.bpf.enter(command);
            prepare(command);
        };
        let host = &self.site.forwarder;
        let started = Forwarder::start_with(&self.binary, host, directory, config, prepare)?;
        self.forwarder = Some(started);
        Ok(())
    }

    /// Kills the daemon as a crash would: SIGKILL.
    pub fn kill(&mut self) {
        self.forwarder = None;
    }

    /// Stops the daemon as a service manager would: SIGTERM.
    pub fn stop(&mut self) -> Result<()> {
        let mut forwarder = self.forwarder.take().context("no daemon runs")?;
        forwarder.terminate().map(drop)
    }

    /// The running daemon.
    pub fn running(&self) -> Result<&Forwarder> {
        self.forwarder.as_ref().context("no daemon runs")
    }

    /// Where the forwarder pins.
    pub fn pins(&self) -> PathBuf {
        self.bpf.path().join("forwarder")
    }

    /// A `forwarder` command that sees the pins.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.site.forwarder.command(&self.binary);
        command.args(words);
        self.bpf.enter(&mut command);
        Ok(command.output()?)
    }

    /// Packets of every virtual server so far, by its name.
    pub fn packets(&self) -> Result<BTreeMap<String, u64>> {
        let status = self.running()?.status()?;
        let servers = status["virtual_servers"].as_array().context("a list")?;
        let packets = servers.iter().map(|server| {
            let name = server["name"].as_str()?.to_owned();
            Some((name, server["in"]["packets"].as_u64()?))
        });
        packets.collect::<Option<_>>().context("names and numbers")
    }

    /// The program's id at an interface; `None`: nothing is attached.
    pub fn program(&self, device: &str) -> Option<u64> {
        let link = self.site.forwarder.show(&["link", "show", device]).ok()?;
        link[0]["xdp"]["prog"]["id"].as_u64()
    }

    /// Waits for a status.
    pub fn wait(&self, what: &str, state: impl Fn(&Value) -> bool) -> Result<()> {
        let forwarder = self.running()?;
        wait_until(what, LIMIT, || {
            forwarder.status().is_ok_and(|status| state(&status))
        })
        .with_context(|| forwarder.diagnosis())
    }

    /// Waits until the daemon has logged something.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        let forwarder = self.running()?;
        wait_until(text, LIMIT, || forwarder.log().contains(text))
            .with_context(|| forwarder.diagnosis())
    }

    /// Waits until every backend is up and resolved.
    pub fn wait_until_up(&self) -> Result<()> {
        self.wait("every backend is up and resolved", |status| {
            let text = status.to_string();
            !text.contains("\"checking\"")
                && !text.contains("\"down\"")
                && !text.contains("\"next_hop\":null")
        })
    }

    /// Waits until every backend is up and resolved, and so many of them answer.
    pub fn wait_until_ready(&self, backends: usize) -> Result<()> {
        self.wait_until_up()?;
        for server in servers(HTTP) {
            let mut names = Vec::new();
            wait_until("all answer", LIMIT, || {
                let get = || self.site.client.run(|| http::get(server, "/", ANSWER)).ok();
                names = (0..40).filter_map(|_| Some(get()?.backend)).collect();
                names.sort();
                names.dedup();
                names == BACKENDS[..backends]
            })
            .with_context(|| format!("{server}: {names:?}"))
            .with_context(|| {
                self.running()
                    .map_or_else(|_| String::new(), Forwarder::diagnosis)
            })?;
        }
        Ok(())
    }
}

/// Every address of a service.
pub fn servers(port: u16) -> Vec<SocketAddr> {
    let vips = Family::ALL
        .into_iter()
        .flat_map(|family| [DIRECT, NAT].map(|vip| family.vip(vip)));
    vips.map(|vip| SocketAddr::new(vip, port)).collect()
}

/// The name that [`config`] gives a virtual server.
pub fn name(server: SocketAddr) -> String {
    let family = if server.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let (number, mode) = MODES[usize::from(server.ip() != family.vip(DIRECT))];
    debug_assert_eq!(server.ip(), family.vip(number));
    let protocol = if server.port() == HTTP { "tcp" } else { "udp" };
    format!("{protocol}-{mode}-{family}")
}

const MODES: [(u8, &str); 2] = [(DIRECT, "l2-dsr"), (NAT, "full-nat")];

/// HTTP and echo, by both families, in modes `l2-dsr` and `full-nat`, served by the first so many backends;
/// `more` goes to the top.
pub fn config(more: &str, backends: u8) -> String {
    let mut config = format!(
        "version = 1\n{more}\n\
         interface = [{{ name = \"outside\", device = \"eth0\" }}, {{ name = \"inside\", device = \"eth1\" }}]\n\
         health_check = [{{ name = \"health\", type = \"http\", port = 80, path = \"/health\", interval = \"200ms\", timeout = \"5s\", fall = 3 }}]\n"
    );
    for family in Family::ALL {
        for (vip, mode) in MODES {
            for (port, protocol) in [(HTTP, "tcp"), (ECHO, "udp")] {
                let address = SocketAddr::new(family.vip(vip), port);
                let snat = if mode == "full-nat" {
                    "snat = \"automap\""
                } else {
                    ""
                };
                config += &format!(
                    "[[virtual_server]]\nname = \"{}\"\naddress = \"{}\"\n\
                     port = {port}\nprotocol = \"{protocol}\"\nmode = \"{mode}\"\npool = \"{family}\"\n{snat}\n",
                    name(address),
                    address.ip(),
                );
            }
        }
        let backends: Vec<_> = (0..backends)
            .map(|index| {
                let (name, address) = (BACKENDS[usize::from(index)], family.backend(index));
                format!("{{ name = \"{name}\", address = \"{address}\" }}")
            })
            .collect();
        config += &format!(
            "[[pool]]\nname = \"{family}\"\nhealth_check = \"health\"\nbackend = [{}]\n",
            backends.join(", ")
        );
    }
    config
}
