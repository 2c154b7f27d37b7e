//! A pair in a simulated cloud: at a takeover addresses move by calls of the API, and packets go where they are.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use forwarder_lab::client::probe::Probes;
use forwarder_lab::cloud::{Cloud, FaultKind, Things, eni};
use forwarder_lab::nodes::{DEVICES, NODES, PATHS};
use forwarder_lab::pinned::{DIRECT, NAT};
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Nodes, wait_until};
use serde_json::Value;

use super::host::{LIMIT, binary, said};

/// A node of a busy machine must not miss it.
const INTERVAL: Duration = Duration::from_millis(500);
const MULTIPLIER: u32 = 3;
/// Answers in a row that show that it works again.
const ANSWERS: usize = 50;

/// A pair in a cloud, the first node active. Dropped in this order.
struct World {
    probes: Probes,
    cloud: Cloud,
    nodes: Nodes,
    config: String,
}

impl World {
    fn new() -> Self {
        Self::of(|config| config)
    }

    /// With another file.
    fn of(edit: impl FnOnce(String) -> String) -> Self {
        let servers = [DIRECT, NAT].map(|vip| Family::V4.vip(vip));
        Self::with(edit, &servers, |_, _| ())
    }

    /// The same; with other addresses that are asked, and more in the cloud.
    fn with(
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

    fn diagnosis(&self) -> String {
        let journals = NODES.map(|node| format!("{:#?}", self.journal(node)));
        format!(
            "{}\n{}\n{:#?}",
            self.nodes.diagnosis(),
            journals.join("\n"),
            self.cloud.called()
        )
    }

    fn wait(&self, what: &str, state: impl FnMut() -> bool) {
        wait_until(what, LIMIT, state)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }

    /// Waits until a node has everything, is active, and the journal of whoever runs says so.
    fn wait_for_owner(&self, owner: usize, running: &[usize]) {
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
    fn wait_for_one(&self) -> usize {
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

    /// Waits until every flow is answered, of those that there were from the beginning.
    fn wait_for_answers(&self) {
        let since = Instant::now();
        self.wait("answers", || self.probes.flow_since(since, ANSWERS));
    }

    fn journal(&self, node: &str) -> Vec<Value> {
        let path = self.nodes.site.directory().join(node).join("cloud.journal");
        let text = fs::read_to_string(path).unwrap_or_default();
        let parse = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(parse).collect()
    }

    /// The first node dies; the second has everything in the end, and nothing was at nobody. How long nobody
    /// answered.
    fn take_over(&mut self) -> Duration {
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
    fn die(&mut self) {
        self.cut(&DEVICES);
        self.nodes.kill(0);
    }

    /// The first node is there again, as standby or, if it is alone, as active.
    fn come_back(&mut self) {
        self.mend(&DEVICES);
        self.nodes.restore_routes(0).expect("routes");
        let config = self.config.clone();
        self.nodes
            .start(0, &config)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The first node takes everything back, in peace.
    fn give_back(&self) {
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

    fn mend(&self, devices: &[&str]) {
        let host = self.nodes.host(0);
        let ends: Vec<_> = devices.iter().map(|device| (host, *device)).collect();
        self.nodes.site.cut(&ends, false).expect("mend");
    }

    /// Cuts cables of the first node.
    fn cut(&self, devices: &[&str]) {
        let host = self.nodes.host(0);
        let ends: Vec<_> = devices.iter().map(|device| (host, *device)).collect();
        self.nodes.site.cut(&ends, true).expect("cut");
    }

    fn nothing_was_dropped(&self) {
        assert_eq!(self.cloud.state().dropped, [""; 0], "{}", self.diagnosis());
    }
}

#[test]
fn addresses_move_by_calls_and_packets_follow() {
    let mut world = World::new();
    let before = world.cloud.called().len();
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    let called = world.cloud.called();
    let actions: Vec<_> = called[before..]
        .iter()
        .map(|call| call.action.as_str())
        .collect();
    // One call for all addresses of a network interface; IPv6 takes two more.
    let private = actions
        .iter()
        .filter(|action| **action == "AssignPrivateIpAddresses");
    assert_eq!(private.count(), 2, "{called:?}");
    let journal = world.journal(NODES[1]);
    let end = journal.last().expect("a line");
    assert_eq!(end["cause"], "peer-lost");
    assert_eq!(end["node"], NODES[1]);
    assert_eq!(end["calls"][0]["action"], "AssignPrivateIpAddresses");
    assert_eq!(end["calls"][0]["from"][0], eni(0, 0));
    assert_eq!(end["calls"][0]["to"], eni(1, 0));
    assert!(
        end["calls"]
            .as_array()
            .expect("calls")
            .iter()
            .all(|call| call["done"] == true)
    );
}

/// What goes wrong at each takeover; in the end the second node has everything, and the journal says how.
#[test]
fn calls_that_go_wrong_are_repeated() {
    let faults: [(&str, &'static str, u32, FaultKind); 5] = [
        (
            "throttled",
            "",
            6,
            FaultKind::Refused(503, "RequestLimitExceeded"),
        ),
        (
            "errors of the server",
            "",
            6,
            FaultKind::Refused(500, "InternalError"),
        ),
        ("slow", "", 2, FaultKind::Slow(Duration::from_secs(5))),
        ("done, but not answered", "", 3, FaultKind::Lost),
        (
            "one of them alone",
            "AssignPrivateIpAddresses",
            3,
            FaultKind::Refused(500, "Unavailable"),
        ),
    ];
    let mut world = World::new();
    for (what, action, times, kind) in faults {
        world.cloud.fail(action, Some(1), times, kind);
        let gap = world.take_over();
        println!("{what}: nobody answered for {gap:?}");
        let journal = world.journal(NODES[1]);
        let last = journal.last().expect("a line");
        let calls = last["calls"].as_array().expect("calls");
        let tries: u64 = calls.iter().filter_map(|call| call["tries"].as_u64()).sum();
        assert!(tries > calls.len() as u64, "{what}: {last}");
        assert!(
            calls.iter().all(|call| call["done"] == true),
            "{what}: {last}"
        );
        assert!(
            world
                .cloud
                .state()
                .faults
                .iter()
                .all(|fault| fault.times == 0)
        );
        world.come_back();
        world.give_back();
    }
}

#[test]
fn what_is_not_allowed_is_said_and_taken_once_it_is() {
    let mut world = World::new();
    let denied = "AssignIpv6Addresses";
    world.cloud.state().denied.insert(denied.to_owned());
    let told = world
        .nodes
        .running(1)
        .and_then(|node| node.run(&["failover", "--dry-run"]));
    let told = said(&told.expect("it answers"));
    assert!(
        told.contains("NOT ALLOWED: UnauthorizedOperation"),
        "{told}"
    );
    assert!(
        told.contains(
            "AssignPrivateIpAddresses 203.0.113.10, 203.0.113.11 → eni-10, now at eni-00: allowed"
        ),
        "{told}"
    );

    world.die();
    world.wait("the rest is taken, and what is not is told", || {
        let status = world
            .nodes
            .running(1)
            .and_then(|node| node.status())
            .unwrap_or_default();
        let vip = Family::V4.vip(NAT);
        let holders = world.cloud.state().things.holders(vip);
        holders == [eni(1, 0)]
            && status["problems"]
                .to_string()
                .contains("UnauthorizedOperation")
    });
    world.cloud.state().denied.clear();
    world.wait_for_owner(1, &[1]);
    world.wait_for_answers();
    world.wait("no problem is left", || {
        let status = world
            .nodes
            .running(1)
            .and_then(|node| node.status())
            .unwrap_or_default();
        !status["problems"].to_string().contains("cloud")
    });
}

/// Of each call: what becomes of it is known to the standby before it is needed.
#[test]
fn a_right_that_is_gone_is_known_before_it_is_needed() {
    let world = World::new();
    let metric = |name: &str, node: usize| -> Option<f64> {
        let running = world.nodes.running(node).expect("it runs");
        let page = said(&running.run(&["metrics"]).expect("it answers"));
        let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let allowed = "forwarder_cloud_rehearsals_total{result=\"allowed\"}";
    let refused = "forwarder_cloud_refused_calls{group=\"default\"}";
    world.wait("every call is rehearsed", || {
        metric(allowed, 1) >= Some(4.0) && metric(refused, 1) == Some(0.0)
    });
    assert_eq!(world.cloud.owner(), Some(0), "nothing has moved");
    // The old holder of an IPv6 address is asked to let go only when there is no other way.
    let denied = "UnassignIpv6Addresses";
    world.cloud.state().denied.insert(denied.to_owned());
    world.wait("it is told", || {
        let problems = world.nodes.problems(1).join("\n");
        problems.contains("cloud: a takeover of group default: UnassignIpv6Addresses")
            && problems.contains("would be refused: UnauthorizedOperation")
            && metric(refused, 1) > Some(0.0)
    });
    assert_eq!(
        metric(refused, 0),
        Some(0.0),
        "the active node needs no rehearsal"
    );
    world.cloud.state().denied.clear();
    world.wait("it is over", || {
        world.nodes.problems(1).is_empty() && metric(refused, 1) == Some(0.0)
    });
}

#[test]
fn the_new_active_node_dies_in_the_middle() {
    let mut world = World::new();
    // The last of its calls is done when it is dead, and when the other has everything again.
    let late = FaultKind::Slow(Duration::from_secs(8));
    world
        .cloud
        .fail("AssignPrivateIpAddresses", Some(1), 1, late);
    world.die();
    world.wait("a part is moved", || {
        let state = world.cloud.state();
        state.things.interfaces[&eni(1, 1)].secondary.len() > 1
            || state.things.interfaces[&eni(1, 0)].secondary.len() > 1
    });
    world.nodes.kill(1);
    world.come_back();
    world.wait_for_owner(0, &[0]);
    world.wait("the late call is done", || {
        let called = world.cloud.called();
        let late = called
            .iter()
            .filter(|call| call.node == 1 && call.refused.is_none());
        late.filter(|call| call.action == "AssignPrivateIpAddresses")
            .count()
            >= 2
    });
    world.wait_for_owner(0, &[0]);
    world.wait_for_answers();
    world.nothing_was_dropped();
}

#[test]
fn what_was_known_does_not_hold_any_more() {
    let mut world = World::of(|config| config.replacen("refresh = \"1s\"", "refresh = \"1h\"", 1));
    world
        .cloud
        .change(|things| {
            let moved = things.interfaces.remove(&eni(1, 0)).expect("it is there");
            things.interfaces.insert("eni-new".to_owned(), moved);
        })
        .expect("change");
    world
        .cloud
        .state()
        .keys
        .values_mut()
        .for_each(|key| key.expired = true);
    world.take_over();
    let called = world.cloud.called();
    let refused = |code: &str| {
        called
            .iter()
            .any(|call| call.refused.as_deref() == Some(code))
    };
    assert!(refused("InvalidNetworkInterfaceID.NotFound"), "{called:?}");
    let journal = world.journal(NODES[1]);
    assert_eq!(journal.last().expect("a line")["calls"][0]["to"], "eni-new");
}

#[test]
fn nodes_that_are_cut_apart_have_one_owner() {
    let world = World::new();
    world.cut(&PATHS);
    world.wait_for_owner(1, &[0, 1]);
    let cause = &world.nodes.pair(0)["groups"][0]["latest"]["cause"];
    assert_eq!(cause, "overtaken", "{}", world.diagnosis());
    world.wait_for_answers();
    world.mend(&PATHS);
    let owner = world.wait_for_one();
    world.wait_for_answers();
    // What somebody else moves is taken back.
    world
        .cloud
        .change(|things| {
            let vip = Family::V4.vip(DIRECT);
            for interface in things.interfaces.values_mut() {
                interface.secondary.remove(&vip);
            }
            let other = things.interfaces.get_mut(&eni(1 - owner, 0));
            other.expect("it is there").secondary.insert(vip);
        })
        .expect("change");
    assert_eq!(world.cloud.owner(), None);
    world.wait_for_one();
    world.wait_for_answers();
}

#[test]
fn what_is_shown_is_old() {
    let mut world = World::new();
    world.cloud.state().lag = Duration::from_secs(3);
    world.take_over();
    let cause = world.nodes.pair(1)["groups"][0]["latest"]["cause"].clone();
    assert_eq!(cause, "peer-lost");
    world.come_back();
    world.give_back();
}

/// Each node has a VIP of its own, and the Elastic IP address moves; a VIP of no subnet moves by a route.
#[test]
fn elastic_ips_and_routes_move() {
    let vips = [20, 21].map(|number| Family::V4.vip(number));
    let [one, other] = vips;
    let public = IpAddr::from([198, 51, 100, 200]);
    let overlay = IpAddr::from([198, 18, 0, 10]);
    let refresh = "refresh = \"1s\"";
    let more = format!(
        "{refresh}, elastic_ip = [{{ tag = \"use=web\", interface = \"outside\", \
         private = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}], \
         route = [{{ table = \"rtb-1\", destination = \"{overlay}/32\", interface = \"outside\" }}]"
    );
    let server = |name: &str, address: &str| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = {address}\nport = {ECHO}\nprotocol = \"udp\"\n\
             mode = \"full-nat\"\nsnat = \"automap\"\npool = \"ipv4\"\n"
        )
    };
    let own = format!("{{ lb1 = \"{one}\", lb2 = \"{other}\" }}");
    let servers = server("elastic", &own) + &server("overlay", &format!("\"{overlay}\""));
    let edit = |config: String| config.replacen(refresh, &more, 1) + &servers;
    let mut world = World::with(edit, &[public, overlay], |cloud, nodes| {
        let has = |things: &mut Things| {
            for (node, vip) in vips.into_iter().enumerate() {
                let at = things.interfaces.get_mut(&eni(node, 0));
                at.expect("it is there").primary.push(vip);
            }
        };
        cloud.change(has).expect("change");
        cloud
            .elastic_ip(nodes, public, ("use", "web"), one)
            .expect("an Elastic IP address");
        cloud
            .route(nodes, &format!("{overlay}/32"))
            .expect("a route");
    });
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    let state = world.cloud.state();
    let at = state.things.allocations["eipalloc-1"].at.clone();
    assert_eq!(at, Some((eni(1, 0), other)));
    let routes = &state.things.tables["rtb-1"].routes;
    assert_eq!(routes[&format!("{overlay}/32")], eni(1, 0));
}
