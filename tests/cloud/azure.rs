//! A pair behind a load balancer such as Azure's, which probes the nodes at their own addresses and sends traffic to
//! the one that says yes: with floating IP on and off, and as LifeKeeper stands there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use forwarder_lab::azure::{Asked, FrontEnd, Probe, Rule};
use forwarder_lab::client::http::{self, Connection};
use forwarder_lab::nodes::NODES;
use forwarder_lab::pinned::NAT;
use forwarder_lab::server::Server;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Nodes, wait_until};

use super::host::{LIMIT, binary};

/// A node of a busy machine must not miss it.
const INTERVAL: Duration = Duration::from_millis(500);
/// For an answer that may not come.
const ANSWER: Duration = Duration::from_secs(3);
/// The port of the probes.
const PORT: u16 = 12345;
/// An address that both nodes have on loopback.
const OWN: u8 = 32;

const BY_TCP: Probe = Probe {
    port: PORT,
    asked: Asked::Tcp,
    interval: Duration::from_millis(200),
    threshold: 2,
};
const BY_HTTP: Probe = Probe {
    asked: Asked::Http("/active"),
    ..BY_TCP
};

/// A pair that waits for a load balancer; the first node is active. Dropped in this order.
struct World {
    front: FrontEnd,
    servers: Vec<Server>,
    nodes: Nodes,
    config: String,
    server: SocketAddr,
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("it is of IPv4"),
    }
}

impl World {
    /// The nodes with these sections too, behind this rule.
    fn new(sections: &str, rule: Rule, probe: Probe) -> Self {
        let mut nodes = Nodes::new(binary()).expect("the nodes");
        let mut servers = Vec::new();
        let own = Family::V4.vip(OWN);
        for (node, name) in ["LKNODE01", "LKNODE02"].into_iter().enumerate() {
            let host = nodes.host(node);
            let on_loopback = format!("address add {own}/32 dev lo");
            host.ip(&on_loopback).expect("an address");
            let at = [SocketAddr::new(own, HTTP)];
            servers.push(Server::start(host, name, &at, &[]).expect("a server"));
        }
        // In a cloud no address moves by itself: each node takes its own for the source.
        let floating = Family::ALL.map(|family| format!("\"{}\"", family.backend(30)));
        let floating = format!(", floating_address = [{}]", floating.join(", "));
        let config = nodes.config(INTERVAL, 3).replace(&floating, "");
        assert!(!config.contains("floating"), "{config}");
        let config = config.replacen("pair = { ", "pair = { drain = \"5m\", ", 1) + sections;
        nodes
            .start_both(&config)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let world = Self {
            front: FrontEnd::start(&nodes, rule, probe).expect("a front end"),
            servers,
            nodes,
            config,
            server: SocketAddr::new(rule.address.into(), rule.port),
        };
        world.wait_for(Some(0));
        world
    }

    /// Waits until new flows go to this node, and are answered; or until there are none.
    fn wait_for(&self, node: Option<usize>) {
        let wanted = [0, 1].map(|each| node == Some(each));
        let what = format!("new flows at {node:?}");
        wait_until(&what, LIMIT, || {
            let before = self.front.carried();
            if self.front.healthy() != wanted || self.get().is_ok() != node.is_some() {
                return false;
            }
            let after = self.front.carried();
            self.front.healthy() == wanted && (0..2).all(|n| wanted[n] || after[n] == before[n])
        })
        .unwrap_or_else(|error| {
            let seen = (self.front.healthy(), self.front.carried(), self.get());
            panic!("{error:#}: {seen:?}\n{}", self.nodes.diagnosis())
        });
    }

    /// Who answers.
    fn get(&self) -> anyhow::Result<String> {
        let get = || http::get(self.server, "/", ANSWER);
        Ok(self.nodes.site.client.run(get)?.backend)
    }

    fn fail_over(&self, to: usize) {
        let words = ["failover", "--to", NODES[to]];
        let from = 1 - to;
        self.nodes
            .command(from, &words)
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.wait_for(Some(to));
    }

    /// Both nodes go on with another file.
    fn reload(&self, config: &str) {
        for node in 0..2 {
            let running = self.nodes.running(node).expect("it runs");
            fs::write(running.config(), config).expect("written");
            self.nodes
                .command(node, &["reload"])
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    /// Once a node has said yes the one before it does not any more: nobody is asked to forward while another does.
    fn yes_was_said_in_turn(&self, order: &[usize]) {
        let answers = self.front.answers();
        let mut yes: Vec<_> = answers
            .iter()
            .filter_map(|(node, yes)| yes.then_some(*node))
            .collect();
        yes.dedup();
        assert_eq!(yes, order, "{answers:?}");
    }

    /// A connection outlives a hand-over at the node that has it, and new ones go to the other.
    fn connections_stay_and_new_ones_move(&self) {
        let client = &self.nodes.site.client;
        let mut old = client
            .run(|| Connection::open(self.server, LIMIT))
            .unwrap_or_else(|error| panic!("{error:#}"));
        let backend = old.get("/").expect("an answer").backend;
        self.fail_over(1);
        let before = self.front.carried();
        let answer = old.get("/").unwrap_or_else(|error| {
            panic!("{error:#}\n{}", self.nodes.diagnosis());
        });
        assert_eq!(answer.backend, backend);
        assert!(self.front.carried()[0] > before[0], "it stays at the first");
    }
}

fn local(address: IpAddr) -> String {
    format!(
        "[[virtual_server]]\nname = \"app\"\naddress = \"{address}\"\nport = {HTTP}\nmode = \"local\"\n\
         [[probe]]\nport = {PORT}\n"
    )
}

/// As it stands there: the application is on the nodes themselves, the front end's address on loopback with /32, and
/// the port of "LB Health Check" is open where the application is to be reached.
#[test]
fn lifekeeper_behind_an_internal_load_balancer() {
    let rule = Rule {
        address: v4(Family::V4.vip(OWN)),
        port: HTTP,
        backend_port: None,
    };
    let mut world = World::new(&local(Family::V4.vip(OWN)), rule, BY_TCP);
    assert_eq!(world.servers.len(), 2);
    assert_eq!(world.get().expect("an answer"), "LKNODE01");
    world.fail_over(1);
    assert_eq!(world.get().expect("an answer"), "LKNODE02");
    world.yes_was_said_in_turn(&[0, 1]);

    // Without the resource nobody is reached.
    let without = world
        .config
        .replace(&format!("[[probe]]\nport = {PORT}\n"), "");
    world.reload(&without);
    world.wait_for(None);
    world.reload(&world.config);
    world.wait_for(Some(1));

    world.nodes.kill(1);
    world.wait_for(Some(0));
    assert_eq!(world.get().expect("an answer"), "LKNODE01");
    world.yes_was_said_in_turn(&[0, 1, 0]);
}

#[test]
fn behind_a_load_balancer_with_floating_ip() {
    let rule = Rule {
        address: v4(Family::V4.vip(NAT)),
        port: HTTP,
        backend_port: None,
    };
    let probe = format!("[[probe]]\nport = {PORT}\nmessage = \"active\"\n");
    let mut world = World::new(&probe, rule, BY_TCP);
    world.connections_stay_and_new_ones_move();
    world.yes_was_said_in_turn(&[0, 1]);
    world.nodes.kill(1);
    world.wait_for(Some(0));
}

#[test]
fn behind_a_load_balancer_without_floating_ip() {
    let rule = Rule {
        address: v4(Family::V4.vip(OWN)),
        port: HTTP,
        backend_port: Some(9080),
    };
    // The destination is the node's own address: another one at each node.
    let sections = format!(
        "[[virtual_server]]\nname = \"rewritten\"\naddress = {{ lb1 = \"{}\", lb2 = \"{}\" }}\nport = 9080\n\
         mode = \"full-nat\"\nsnat = \"automap\"\npool = \"nine\"\n\
         [[pool]]\nname = \"nine\"\nbackend = [{{ address = \"{}\", port = {HTTP} }}]\n\
         [[probe]]\nport = {PORT}\nprotocol = \"http\"\npath = \"/active\"\n",
        Family::V4.outside(),
        Family::V4.vip(3),
        Family::V4.backend(0),
    );
    let mut world = World::new(&sections, rule, BY_HTTP);
    world.connections_stay_and_new_ones_move();
    world.yes_was_said_in_turn(&[0, 1]);
    world.nodes.kill(1);
    world.wait_for(Some(0));
}
