//! The network that the two machines are in, and how they are seen from it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use forwarder_lab::client::arp::Watch;
use forwarder_lab::client::probe::Probes;
use forwarder_lab::pinned::DIRECT;
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Namespace, Site, wait_until};

use super::guest::{self, Guest, METRICS, Made, PROBE};

/// The nodes' names.
pub const NODES: [&str; 2] = ["lb1", "lb2"];
/// Nothing takes that long unless it is broken: emulated machines on a busy one are slow.
const LIMIT: Duration = Duration::from_secs(300);
/// For an answer of a node.
const ANSWER: Duration = Duration::from_secs(3);

/// Two machines and their site. Dropped in this order.
pub struct Network {
    guests: [Option<Guest>; 2],
    site: Site,
}

/// The service that is asked for: mode `l2-dsr`, so only a node that gets a datagram can have forwarded it.
pub fn vip() -> SocketAddr {
    SocketAddr::new(Family::V4.vip(DIRECT), ECHO)
}

impl Network {
    /// Boots both.
    pub fn new(made: &Made) -> Result<Self> {
        let direct: Vec<_> = Family::ALL.map(|family| family.vip(DIRECT)).into();
        let site = Site::new(&direct, &[])?;
        let key = site.directory().join("pair.key");
        let mut keygen = Command::new(&made.forwarder);
        let status = keygen.args(["peer", "keygen"]).arg(&key).status()?;
        ensure!(status.success(), "no key for the pair");
        let mut network = Self {
            guests: [None, None],
            site,
        };
        for node in 0..2 {
            let site = &network.site;
            for (card, segment) in [site.outside, site.inside].into_iter().enumerate() {
                site.tap(&guest::device(node, card), segment)?;
            }
            network.guests[node] = Some(Guest::boot(made, site, node, &key)?);
        }
        network.wait_until_up()?;
        Ok(network)
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let mut ended = false;
        let up = wait_until("both machines forward", LIMIT, || {
            let guests = self.guests.iter_mut().flatten();
            guests.for_each(|guest| ended |= guest.has_ended());
            ended || (0..2).all(|node| self.metrics(node).is_ok())
        });
        up.with_context(|| self.diagnosis())?;
        if ended {
            bail!("a machine has ended\n{}", self.diagnosis());
        }
        Ok(())
    }

    /// A node that runs.
    pub fn guest(&self, node: usize) -> Result<&Guest> {
        self.guests[node].as_ref().context("it does not run")
    }

    /// Ends a node as a power loss does.
    pub fn kill(&mut self, node: usize) {
        self.guests[node] = None;
    }

    /// How XDP is attached at a node, as it logged it.
    pub fn attached(&self, node: usize) -> Result<String> {
        let console = self.guest(node)?.console();
        let lines = console.lines().filter(|line| line.contains(": attached"));
        let lines: Vec<_> = lines
            .filter_map(|line| Some(&line[line.find("eth")?..]))
            .collect();
        ensure!(
            lines.len() == 2 && lines.iter().all(|line| line.contains("native")),
            "not attached in the driver: {lines:?}"
        );
        Ok(lines.join("; "))
    }

    /// Waits until one node is active, and only one: which.
    pub fn active(&self) -> Result<usize> {
        let mut active = 0;
        self.wait("one node is active", || {
            let is = [0, 1].map(|node| self.is_active(node));
            active = usize::from(is[1]);
            is[0] != is[1]
        })?;
        Ok(active)
    }

    /// Waits until a node has a role, by its probe port too.
    pub fn wait_for_role(&self, node: usize, role: &str) -> Result<()> {
        let series = format!("forwarder_role{{role=\"{role}\"}} 1");
        self.wait(&format!("{} is {role}", NODES[node]), || {
            let metrics = self.metrics(node).unwrap_or_default();
            metrics.contains(&series) && self.is_active(node) == (role == "active")
        })
    }

    /// Waits until a node is active, the other can take over, and every backend is up.
    pub fn wait_until_ready(&self, active: usize) -> Result<()> {
        self.wait("both nodes are well", || {
            (0..2).all(|node| {
                let role = if node == active { "active" } else { "standby" };
                let Ok(metrics) = self.metrics(node) else {
                    return false;
                };
                let has = |text: &str| metrics.lines().any(|line| line == text);
                has(&format!("forwarder_role{{role=\"{role}\"}} 1"))
                    && has("forwarder_problems 0")
                    && NODES.iter().all(|name| {
                        has(&format!(
                            "forwarder_pair_node_health{{node=\"{name}\",health=\"sound\"}} 1"
                        ))
                    })
            })
        })
    }

    /// Numbered datagrams from the client.
    pub fn probes(&self) -> Result<Probes> {
        Probes::start(&self.site.client, &[vip()])
    }

    /// Asks all the time who has the VIP.
    pub fn watch(&self) -> Result<Watch> {
        let IpAddr::V4(address) = vip().ip() else {
            bail!("an IPv4 address");
        };
        Watch::start(&self.site.router, "outside", address)
    }

    /// A host that sends everything for the VIP to one node, whoever has it.
    pub fn unaware_host(&self, node: usize) -> Result<Namespace> {
        let host = self.site.lab().host("unaware")?;
        let own = Family::V4.in_subnet(Family::V4.vip(5));
        self.site.plug(&host, "eth0", self.site.outside, &[own])?;
        host.ip(&format!(
            "neighbour replace {} lladdr {} nud permanent dev eth0",
            vip().ip(),
            guest::mac(node, 0)
        ))?;
        Ok(host)
    }

    /// Waits for a state.
    pub fn wait(&self, what: &str, state: impl FnMut() -> bool) -> Result<()> {
        wait_until(what, LIMIT, state).with_context(|| self.diagnosis())
    }

    fn is_active(&self, node: usize) -> bool {
        self.connect(node, PROBE).is_ok()
    }

    fn metrics(&self, node: usize) -> Result<String> {
        let mut stream = self.connect(node, METRICS)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.contains("forwarder_role{"), "no metrics");
        Ok(text)
    }

    fn connect(&self, node: usize, port: u16) -> Result<TcpStream> {
        let address = SocketAddr::new(guest::outside(node, Family::V4), port);
        let connect = || TcpStream::connect_timeout(&address, ANSWER);
        self.site.client.run(connect).context("connect")
    }

    fn diagnosis(&self) -> String {
        let guests = self.guests.iter().zip(NODES);
        guests
            .filter_map(|(guest, name)| {
                let console = guest.as_ref()?.console();
                let lines: Vec<_> = console.lines().collect();
                let tail = &lines[lines.len().saturating_sub(40)..];
                Some(format!("{name}:\n{}\n", tail.join("\n")))
            })
            .collect()
    }
}
