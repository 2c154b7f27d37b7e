//! `examples/cloud-two-zones.toml`: the nodes are in subnets of two zones, so no private address moves. The Elastic
//! IP address does, and the default route of the backends, which answer clients by the active node.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use forwarder_lab::client::visits::Visits;
use forwarder_lab::cloud::{API, Cloud, Things, eni};
use forwarder_lab::nodes::{DEVICES, NODES};
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Nodes, wait_until};

use super::host::{LIMIT, binary};

/// As often somebody fetches a page.
const INTERVAL: Duration = Duration::from_millis(100);
/// Pages in a row that show that it works.
const PAGES: usize = 10;
const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 200));

/// Dropped in this order.
struct Zones {
    visits: Visits,
    cloud: Cloud,
    nodes: Nodes,
    config: String,
    vips: [IpAddr; 2],
}

impl Zones {
    fn new() -> Self {
        let mut nodes = Nodes::new(binary()).expect("the nodes");
        let mut cloud = Cloud::with(&nodes, &[]).expect("the cloud");
        let vips = [20, 21].map(|number| Family::V4.vip(number));
        let apart = |things: &mut Things| {
            for (node, vip) in vips.into_iter().enumerate() {
                let outside = things.interfaces.get_mut(&eni(node, 0));
                outside.expect("it is there").primary.push(vip);
            }
            for device in 0..2 {
                let other = things.interfaces.get_mut(&eni(1, device));
                let other = other.expect("it is there");
                (other.zone, other.subnet) = ("b", format!("subnet-b{device}"));
            }
        };
        cloud.change(apart).expect("change");
        cloud
            .elastic_ip(&nodes, PUBLIC, ("use", "web"), vips[0])
            .expect("an Elastic IP address");
        cloud.route(&nodes, "0.0.0.0/0", 1).expect("a route");
        cloud.state().latency = Duration::from_millis(100);
        let own = format!("{{ lb1 = \"{}\", lb2 = \"{}\" }}", vips[0], vips[1]);
        let head = format!(
            "version = 1\ncloud = {{ endpoint = \"http://{API}\", refresh = \"1s\", \
             elastic_ip = [{{ tag = \"use=web\", interface = \"outside\", private = {own} }}], \
             route = [{{ table = \"rtb-1\", destination = \"0.0.0.0/0\", interface = \"inside\" }}] }}\n"
        );
        let config = nodes.config(Duration::from_millis(500), 3);
        let config = config.replacen("version = 1\n", &head, 1)
            + &format!(
                "[[virtual_server]]\nname = \"web\"\naddress = {own}\nport = {HTTP}\nmode = \"dnat\"\npool = \"ipv4\"\n"
            );
        for node in 0..2 {
            nodes
                .start(node, &config)
                .unwrap_or_else(|error| panic!("{error:#}"));
            nodes
                .wait_for_active(0)
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
        nodes
            .wait_until_ready(0)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let server = SocketAddr::new(PUBLIC, HTTP);
        let timeout = Duration::from_secs(1);
        let visits = Visits::start(&nodes.site.client, server, INTERVAL, timeout);
        let zones = Self {
            visits: visits.expect("a visitor"),
            cloud,
            nodes,
            config,
            vips,
        };
        zones.wait_for_owner(0);
        zones
    }

    /// Waits until a node is active and has everything, and pages are fetched.
    fn wait_for_owner(&self, node: usize) {
        let there = (eni(node, 0), self.vips[node]);
        self.wait("one owner", || {
            let role = self.nodes.pair(node)["role"] == "active";
            let state = self.cloud.state();
            let things = &state.things;
            role && things.allocations["eipalloc-1"].at.as_ref() == Some(&there)
                && things.tables["rtb-1"].routes["0.0.0.0/0"] == eni(node, 1)
        });
        let since = Instant::now();
        self.wait("pages", || self.visits.since(since) >= PAGES);
    }

    fn wait(&self, what: &str, state: impl FnMut() -> bool) {
        wait_until(what, LIMIT, state).unwrap_or_else(|error| {
            panic!(
                "{error:#}\n{}\n{:#?}",
                self.nodes.diagnosis(),
                self.cloud.called()
            )
        });
    }

    fn cut(&self, cut: bool) {
        let host = self.nodes.host(0);
        let ends: Vec<_> = DEVICES.iter().map(|device| (host, *device)).collect();
        self.nodes.site.cut(&ends, cut).expect("cut");
    }
}

#[test]
fn an_elastic_ip_and_a_default_route_in_two_zones() {
    let mut zones = Zones::new();
    let begin = Instant::now();
    zones.cut(true);
    zones.nodes.kill(0);
    zones.wait_for_owner(1);
    println!("no page for {:?}", zones.visits.gap(begin));
    let called = zones.cloud.called();
    let mut actions: Vec<_> = called
        .iter()
        .filter(|call| call.node == 1 && call.refused.is_none())
        .map(|call| call.action.as_str())
        .collect();
    actions.sort_unstable();
    actions.dedup();
    // Nothing is given up first.
    assert_eq!(actions, ["AssociateAddress", "ReplaceRoute"]);

    zones.cut(false);
    zones.nodes.restore_routes(0).expect("routes");
    let config = zones.config.clone();
    zones
        .nodes
        .start(0, &config)
        .unwrap_or_else(|error| panic!("{error:#}"));
    zones
        .nodes
        .wait_until_ready(1)
        .unwrap_or_else(|error| panic!("{error:#}"));
    zones
        .nodes
        .command(0, &["failover", "--to", NODES[0]])
        .unwrap_or_else(|error| panic!("{error:#}"));
    zones.wait_for_owner(0);
}
