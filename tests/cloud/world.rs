//! A pair in a simulated cloud.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use forwarder_lab::client::probe::Probes;
use forwarder_lab::cloud::Cloud;
use forwarder_lab::nodes::{DEVICES, NODES};
use forwarder_lab::pinned::{DIRECT, NAT};
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Nodes, wait_until};
use serde_json::Value;

use super::host::{LIMIT, binary};

/// A node of a busy machine must not miss it.
const INTERVAL: Duration = Duration::from_millis(500);
const MULTIPLIER: u32 = 3;
/// Answers in a row that show that it works again.
const ANSWERS: usize = 50;

/// A pair in a cloud, the first node active. Dropped in this order.
pub struct World {
    probes: Probes,
    pub cloud: Cloud,
    pub nodes: Nodes,
    config: String,
}

impl World {
    pub fn new() -> Self {
        Self::of(|config| config)
    }

    /// With another file.
    pub fn of(edit: impl FnOnce(String) -> String) -> Self {
        let servers = [DIRECT, NAT].map(|vip| Family::V4.vip(vip));
        Self::with(edit, &servers, |_, _| ())
    }

    /// The same; with other addresses that are asked, and more in the cloud.
    pub fn with(
        edit: impl FnOnce(String) -> String,
        servers: &[IpAddr],
        prepare: impl FnOnce(&mut Cloud, &Nodes),
    ) -> Self {
        let mut nodes = Nodes::new(binary()).expect("the nodes");
        let mut cloud = Cloud::start(&nodes).expect("the cloud");
        prepare(&mut cloud, &nodes);
        let config = nodes.config(INTERVAL, MULTIPLIER);
        let head = format!("version = 1\n{}", cloud.config());
        let config = edit(config.replacen("version = 1\n", &head, 1));
        nodes
            .start_both(&config)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let servers: Vec<_> = servers
            .iter()
            .map(|at| SocketAddr::new(*at, ECHO))
            .collect();
        let probes = Probes::start(&nodes.site.client, &servers).expect("probes");
        let world = Self {
            probes,
            cloud,
            nodes,
            config,
        };
        world.wait_for_owner(0, &[0, 1]);
        world.wait_for_answers();
        world
    }

    pub fn diagnosis(&self) -> String {
        let journals = NODES.map(|node| format!("{:#?}", self.journal(node)));
        format!(
            "{}\n{}\n{:#?}",
            self.nodes.diagnosis(),
            journals.join("\n"),
            self.cloud.called()
        )
    }

    pub fn wait(&self, what: &str, state: impl FnMut() -> bool) {
        wait_until(what, LIMIT, state)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }

    /// Waits until a node has everything, is active, and the journal of whoever runs says so.
    pub fn wait_for_owner(&self, owner: usize, running: &[usize]) {
        self.wait("one owner", || {
            let last = self.journal(NODES[owner]).pop().unwrap_or_default();
            self.cloud.owner() == Some(owner)
                && last["event"] == "end"
                && last["confirmed_milliseconds"].is_number()
                && running.iter().all(|node| {
                    let role = if *node == owner { "active" } else { "standby" };
                    self.nodes.pair(*node)["role"] == role
                })
        });
    }

    /// Waits until one node is active, and has everything: which.
    pub fn wait_for_one(&self) -> usize {
        let mut owner = None;
        self.wait("one owner that is active", || {
            owner = self.cloud.owner();
            owner.is_some_and(|owner| {
                self.nodes.pair(owner)["role"] == "active"
                    && self.nodes.pair(1 - owner)["role"] == "standby"
            })
        });
        owner.expect("it was waited for")
    }

    /// Waits until new flows are answered: what becomes of older ones is not what is tried here.
    pub fn wait_for_answers(&self) {
        let since = Instant::now();
        self.wait("answers", || self.probes.flow_since(since, ANSWERS));
    }

    pub fn journal(&self, node: &str) -> Vec<Value> {
        let path = self.nodes.site.directory().join(node).join("cloud.journal");
        let text = fs::read_to_string(path).unwrap_or_default();
        let parse = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(parse).collect()
    }

    /// The first node dies; the second has everything in the end, and nothing was at nobody. How long nobody
    /// answered.
    pub fn take_over(&mut self) -> Duration {
        let begin = Instant::now();
        self.die();
        self.wait_for_owner(1, &[1]);
        self.wait_for_answers();
        self.nothing_was_dropped();
        let gaps = self.probes.between(begin, Instant::now());
        gaps.iter()
            .map(|outage| outage.gap)
            .max()
            .unwrap_or_default()
    }

    /// The first node's machine is gone.
    pub fn die(&mut self) {
        self.cut(&DEVICES);
        self.nodes.kill(0);
    }

    /// The first node is there again, as standby or, if it is alone, as active.
    pub fn come_back(&mut self) {
        self.mend(&DEVICES);
        self.nodes.restore_routes(0).expect("routes");
        let config = self.config.clone();
        self.nodes
            .start(0, &config)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The first node takes everything back, in peace.
    pub fn give_back(&self) {
        self.nodes
            .wait_until_ready(1)
            .unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(self.cloud.owner(), Some(1), "who comes back takes nothing");
        self.nodes
            .command(0, &["failover", "--to", NODES[0]])
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.wait_for_owner(0, &[0, 1]);
        self.nodes
            .wait_until_ready(0)
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.wait_for_answers();
        self.nothing_was_dropped();
    }

    pub fn mend(&self, devices: &[&str]) {
        let host = self.nodes.host(0);
        let ends: Vec<_> = devices.iter().map(|device| (host, *device)).collect();
        self.nodes.site.cut(&ends, false).expect("mend");
    }

    /// Cuts cables of the first node.
    pub fn cut(&self, devices: &[&str]) {
        let host = self.nodes.host(0);
        let ends: Vec<_> = devices.iter().map(|device| (host, *device)).collect();
        self.nodes.site.cut(&ends, true).expect("cut");
    }

    pub fn nothing_was_dropped(&self) {
        assert_eq!(self.cloud.state().dropped, [""; 0], "{}", self.diagnosis());
    }
}
