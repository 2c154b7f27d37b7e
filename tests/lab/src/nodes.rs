//! A site with two forwarders, which watch each other over two cables of their own.
//!
//! ```text
//!             ┌────── lb1 ──────┐
//!     outside │ eth0 ║║ eth1    │ inside
//!   ──────────┤  eth2║║eth3     ├────────── backends
//!             └────── lb2 ──────┘
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bpffs::BpfFs;
use crate::forwarder::Forwarder;
use crate::namespace::Namespace;
use crate::pinned::{DIRECT, LIMIT, config};
use crate::site::{Family, Site};
use crate::wait::wait_until;

/// The nodes' names.
pub const NODES: [&str; 2] = ["lb1", "lb2"];
/// Every device of a node.
pub const DEVICES: [&str; 4] = ["eth0", "eth1", "eth2", "eth3"];
/// Those of them that only the nodes themselves use.
pub const PATHS: [&str; 2] = ["eth2", "eth3"];

/// Dropped in this order.
pub struct Nodes {
    forwarders: [Option<Forwarder>; 2],
    bpf: Vec<BpfFs>,
    second: Namespace,
    /// Where they forward.
    pub site: Site,
    binary: PathBuf,
}

/// The end of a path at a node.
pub fn path_end(path: usize, node: usize) -> IpAddr {
    let host = 1 + node as u16;
    match path {
        0 => Ipv4Addr::new(10, 255, 0, host as u8).into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, host).into(),
    }
}

impl Nodes {
    /// The network, without daemons.
    ///
    /// # Errors
    /// When it can't be built.
    pub fn new(binary: &Path) -> Result<Self> {
        let direct: Vec<_> = Family::ALL.map(|family| family.vip(DIRECT)).into();
        let site = Site::new(&direct, &[])?;
        let second = site.lab().host("second")?;
        let at = |address: fn(Family) -> IpAddr| Family::ALL.map(|f| f.in_subnet(address(f)));
        let outside = at(|family| family.vip(3));
        site.plug(&second, "eth0", site.outside, &outside)?;
        let inside = at(|family| family.backend(20));
        site.plug(&second, "eth1", site.inside, &inside)?;
        let mut nodes = Self {
            forwarders: [None, None],
            bpf: Vec::new(),
            second,
            site,
            binary: binary.to_owned(),
        };
        for (path, device) in PATHS.into_iter().enumerate() {
            let segment = nodes.site.segment()?;
            for node in 0..2 {
                let end = path_end(path, node);
                let length = if end.is_ipv4() { 24 } else { 64 };
                let address = format!("{end}/{length}");
                nodes
                    .site
                    .plug(nodes.host(node), device, segment, &[address])?;
            }
        }
        nodes.restore_routes(1)?;
        for name in NODES {
            let mount = nodes.site.directory().join(name).join("bpf");
            fs::create_dir_all(&mount)?;
            nodes.bpf.push(BpfFs::mount(&mount)?);
        }
        let made = Command::new(&nodes.binary)
            .args(["peer", "keygen"])
            .arg(nodes.key())
            .status()?;
        ensure!(made.success(), "no key for the pair");
        Ok(nodes)
    }

    /// HTTP and echo in modes `l2-dsr` and `full-nat` (VIPs as of [`crate::pinned`]), with the pair's timing.
    pub fn config(&self, interval: Duration, multiplier: u32) -> String {
        let paths = [0, 1].map(|path| {
            let [one, other] = [0, 1].map(|node| path_end(path, node));
            format!("{{ address = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}")
        });
        let top = format!(
            "hash_key = \"00112233445566778899aabbccddeeff\"\nlimits = {{ flows = 200000 }}\n\
             node = [{{ name = \"lb1\" }}, {{ name = \"lb2\" }}]\n\
             pair = {{ key_file = \"{}\", interval = \"{}ms\", multiplier = {multiplier}, path = [{}] }}",
            self.key().display(),
            interval.as_millis(),
            paths.join(", "),
        );
        // What NAT takes for the source moves with the VIPs.
        let floating = Family::ALL.map(|family| format!("\"{}\"", family.backend(30)));
        let floating = format!("floating_address = [{}]", floating.join(", "));
        let inside = "device = \"eth1\"";
        config(&top, 3).replace(inside, &format!("{inside}, {floating}"))
    }

    /// The same config where the paths are interfaces too, so that the data plane answers echoes.
    pub fn reflecting(config: &str) -> String {
        let paths = PATHS.map(|path| format!("{{ name = \"{path}\", device = \"{path}\" }}, "));
        let interfaces = "interface = [";
        config.replace(interfaces, &format!("{interfaces}{}", paths.concat()))
    }

    /// Starts a node's daemon and waits until it forwards, or would.
    ///
    /// # Errors
    /// When it does not start: with what it says.
    pub fn start(&mut self, node: usize, config: &str) -> Result<()> {
        let directory = self.site.directory().join(NODES[node]);
        let bpf = &self.bpf[node];
        let pin = format!("--pin={}", bpf.path().join("forwarder").display());
        let prepare = |command: &mut Command| {
            command.args(["--node", NODES[node], &pin]);
            bpf.enter(command);
        };
        let host = self.host(node);
        let started = Forwarder::start_with(&self.binary, host, &directory, config, prepare)?;
        self.forwarders[node] = Some(started);
        Ok(())
    }

    /// Starts both nodes' daemons: the first is active before the second begins. Waits until both are ready.
    ///
    /// # Errors
    /// When one does not start, or they don't become ready: with what they say.
    pub fn start_both(&mut self, config: &str) -> Result<()> {
        self.start(0, config)?;
        self.wait_for_active(0)?;
        self.start(1, config)?;
        self.wait_until_ready(0)
    }

    /// Kills a node's daemon (SIGKILL). What it has pinned stays.
    pub fn kill(&mut self, node: usize) {
        self.forwarders[node] = None;
    }

    /// Stops a node's daemon as a service manager would (SIGTERM).
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        let mut forwarder = self.forwarders[node].take().context("no daemon runs")?;
        forwarder.terminate().map(drop)
    }

    /// A node's daemon.
    ///
    /// # Errors
    /// When none runs.
    pub fn running(&self, node: usize) -> Result<&Forwarder> {
        self.forwarders[node].as_ref().context("no daemon runs")
    }

    /// A node's host.
    pub fn host(&self, node: usize) -> &Namespace {
        if node == 0 {
            &self.site.forwarder
        } else {
            &self.second
        }
    }

    /// A command that has to succeed, at a node's daemon.
    ///
    /// # Errors
    /// When it does not: with what it says.
    pub fn command(&self, node: usize, words: &[&str]) -> Result<()> {
        let output = self.running(node)?.run(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "forwarder {words:?}: {said}");
        Ok(())
    }

    /// What a node's status says of the pair.
    pub fn pair(&self, node: usize) -> Value {
        let status = self.running(node).and_then(Forwarder::status);
        status.map_or(Value::Null, |mut status| status["pair"].take())
    }

    /// What a node says is not as it should be.
    pub fn problems(&self, node: usize) -> Vec<String> {
        let status = self.running(node).and_then(Forwarder::status);
        let problems = status.map(|status| status["problems"].clone());
        let problems = problems
            .ok()
            .and_then(|all| serde_json::from_value(all).ok());
        problems.unwrap_or_default()
    }

    /// A path as a node names it.
    pub fn path(&self, path: usize, node: usize) -> String {
        format!(
            "path {} - {}",
            path_end(path, node),
            path_end(path, 1 - node)
        )
    }

    /// Waits until one node is active, and only one: which.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn active(&self) -> Result<usize> {
        let mut is = [false; 2];
        wait_until("a node is active, and only one", LIMIT, || {
            is = [0, 1].map(|node| self.pair(node)["role"] == "active");
            is[0] != is[1]
        })
        .with_context(|| self.diagnosis())?;
        Ok(usize::from(is[1]))
    }

    /// Waits until a node is active.
    ///
    /// # Errors
    /// When it does not become so.
    pub fn wait_for_active(&self, node: usize) -> Result<()> {
        wait_until("the node is active", LIMIT, || {
            self.pair(node)["role"] == "active"
        })
        .with_context(|| self.diagnosis())
    }

    /// Waits until a node is active and the other ready to take over, and both say so: sound, every path up,
    /// every backend up and resolved, every flow told.
    ///
    /// # Errors
    /// When they don't become so.
    pub fn wait_until_ready(&self, active: usize) -> Result<()> {
        let roles = |node| if node == active { "active" } else { "standby" };
        wait_until("both nodes are well", LIMIT, || {
            (0..2).all(|node| {
                let status = self.running(node).and_then(Forwarder::status);
                let status = status.unwrap_or_default();
                let (pair, text) = (&status["pair"], status.to_string());
                let paths = pair["paths"].as_array();
                pair["role"] == roles(node)
                    && pair["health"] == "sound"
                    && pair["peer"]["role"] == roles(1 - node)
                    && pair["peer"]["health"] == "sound"
                    && pair["peer"]["maintenance"] == false
                    && paths.is_some_and(|all| all.iter().all(|path| path["state"] == "up"))
                    && (pair["sync"].is_null() || pair["sync"]["complete"] == true)
                    && !text.contains("\"checking\"")
                    && !text.contains("\"down\"")
                    && !text.contains("\"next_hop\":null")
            })
        })
        .with_context(|| self.diagnosis())
    }

    /// Gives a node its addresses of IPv6 and its routes again, which go with a link.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn restore_routes(&self, node: usize) -> Result<()> {
        let mut commands = String::new();
        for family in Family::ALL {
            let addresses = match node {
                0 => [family.outside(), family.inside()],
                _ => [family.vip(3), family.backend(20)],
            };
            for (address, device) in addresses.into_iter().zip(DEVICES) {
                let address = family.in_subnet(address);
                commands += &format!("address replace {address} dev {device} nodad\n");
            }
            let any = match family {
                Family::V4 => "0.0.0.0/0",
                Family::V6 => "::/0",
            };
            commands += &format!("route replace {any} via {}\n", family.router());
        }
        self.host(node).ip(&commands)
    }

    /// What there is to know when something goes wrong.
    pub fn diagnosis(&self) -> String {
        let nodes = self.forwarders.iter().flatten();
        nodes.map(|node| node.diagnosis() + "\n").collect()
    }

    fn key(&self) -> PathBuf {
        self.site.directory().join("pair.key")
    }
}
