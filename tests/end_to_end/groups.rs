//! Two groups of virtual servers: each node carries one, and either can carry both.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use forwarder_lab::client::http;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Over, Two};
use super::world::{VIP, both_services};

/// The group of everything IPv6, for the second node; IPv4 is in the default one, for the first.
const PAIR: &str = "preempt = true, failback_delay = \"1s\", \
    group = [{ name = \"six\", priority = { lb1 = 100, lb2 = 200 } }], ";

/// The same, where only an operator moves groups.
const NEW: &str = "group = [{ name = \"six\", priority = { lb1 = 100, lb2 = 200 } }], ";
/// Says where the group is.
const PROBE: &str = "[[probe]]\nport = 8087\ngroup = \"six\"\n";

fn services(mode: &str) -> String {
    let mut services = both_services(mode, |family| family);
    for name in ["web", "echo"] {
        let server = format!("[[virtual_server]]\nname = \"{name}-{}\"\n", Family::V6);
        assert!(services.contains(&server), "{services}");
        services = services.replace(&server, &format!("{server}group = \"six\"\n"));
    }
    services
}

/// The same through full-nat, with source addresses of each family's own.
fn nat_services() -> String {
    let mut services = services("full-nat");
    for (family, number) in Family::ALL.into_iter().zip([30, 32]) {
        let pool = format!("pool = \"web-{family}\"\nsnat = \"automap\"");
        assert!(services.contains(&pool), "{services}");
        for name in ["web", "echo"] {
            let pool = format!("pool = \"{name}-{family}\"\nsnat = \"");
            services =
                services.replace(&format!("{pool}automap"), &format!("{pool}moving-{family}"));
        }
        services += &format!(
            "[[snat_pool]]\nname = \"moving-{family}\"\naddresses = [\"{}\"]\nports = \"20000-29999\"\ninterface = \"inside\"\n",
            family.backend(number)
        );
    }
    services
}

impl Two {
    /// Waits until a node, and the other as it sees it, have these roles in `default` and in `six`.
    fn wait_for_groups(&self, index: usize, roles: [&str; 2], peer: Option<[&str; 2]>) {
        let as_wanted = || {
            let status = self.pair(index);
            let all = if roles[0] == roles[1] {
                roles[0]
            } else {
                "mixed"
            };
            let mut groups = ["default", "six"].iter().enumerate();
            status["role"] == all
                && groups.all(|(at, name)| {
                    let group = &status["groups"][at];
                    let peer = peer.is_none_or(|peer| group["peer_role"] == peer[at]);
                    group["name"] == *name && group["role"] == roles[at] && peer
                })
        };
        wait_until("the groups' roles", LIMIT, as_wanted)
            .unwrap_or_else(|error| panic!("{error:#}: {roles:?}\n{}", self.diagnosis()));
    }

    /// Each node carries its own group.
    fn wait_until_shared(&self) {
        let (first, second) = (["active", "standby"], ["standby", "active"]);
        self.wait_for_groups(0, first, Some(second));
        self.wait_for_groups(1, second, Some(first));
    }

    /// Packets that a virtual server has had at a node.
    fn packets(&self, index: usize, server: &str) -> u64 {
        let status = self.node(index).status().unwrap_or_default();
        let servers = status["virtual_servers"].as_array().into_iter().flatten();
        let mut counts = servers.filter(|each| each["name"] == server);
        counts
            .next()
            .and_then(|each| each["in"]["packets"].as_u64())
            .unwrap_or(0)
    }

    /// Serves both families until each has come by its own node.
    fn carry_both(&self) {
        let web = Family::ALL.map(|family| format!("web-{family}"));
        let before = [0, 1].map(|index| self.packets(index, &web[index]));
        wait_until("each node carries its group", LIMIT, || {
            self.served();
            [0, 1].map(|index| self.packets(index, &web[index]) > before[index]) == [true; 2]
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }
}

impl Two {
    /// Puts another configuration to work at a node; what was said.
    fn reload(&self, index: usize, config: &str) -> Result<String, String> {
        let node = self.node(index);
        fs::write(node.config(), config).expect("write it");
        let output = node.run(&["reload"]).expect("it runs");
        let said = text(&output.stdout) + &text(&output.stderr);
        if output.status.success() {
            Ok(said)
        } else {
            Err(said)
        }
    }

    /// Until a node's status is as it is to be.
    fn wait_until_node(&self, index: usize, what: &str, is: impl Fn(&Value) -> bool) {
        wait_until(what, LIMIT, || {
            is(&self.node(index).status().unwrap_or_default())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn both_nodes_carry_traffic_and_one_carries_all_of_it() {
    let services = services("l2-dsr");
    let mut two = Two::of(&services, PAIR);
    two.wait_until_shared();
    two.carry_both();
    two.nodes[1] = None;
    two.wait_for_groups(0, ["active", "active"], None);
    two.served();
    let config = two.config(&services);
    two.nodes[1] = Some(two.daemon(1, &config));
    two.wait_until_shared();
    two.carry_both();

    // Which way is meant?
    for (words, refused) in [
        (&["failover"][..], "name a node or a group"),
        (&["failover", "--group", "seven"], "no group \"seven\""),
    ] {
        wait_until(refused, LIMIT, || {
            let output = two.node(0).run(words);
            output.is_ok_and(|output| text(&output.stderr).contains(refused))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    }
    two.wait_until_shared();
    two.run(0, &["failover", "--group", "six"]);
    // It will go back after a second: history tells.
    let taken = || {
        let history = two
            .node(0)
            .run(&["history", "--kind", "role", "-o", "json"]);
        let history = history.map(|output| serde_json::from_slice::<Value>(&output.stdout));
        let history = history.ok().and_then(Result::ok).unwrap_or_default();
        let mut events = history["events"].as_array().into_iter().flatten();
        events.any(|event| {
            let told = event["text"].as_str().unwrap_or_default();
            event["subject"] == "six" && told.starts_with("active: the peer offered it")
        })
    };
    wait_until("the group moves", LIMIT, taken)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.wait_until_shared();
}

#[test]
fn each_node_tells_the_other_of_its_own_groups_flows() {
    let services = nat_services();
    let mut two = Two::of(&services, PAIR);
    two.wait_until_shared();
    two.carry_both();
    // Those of either node, each told by the one that carries them.
    let mut connections = two.connections();
    two.wait_for_flows(0, &connections);
    two.wait_for_flows(1, &connections);
    two.nodes[1] = None;
    two.wait_for_groups(0, ["active", "active"], None);
    two.go_on(&mut connections);
    connections.extend(two.connections());
    // The group goes back to the node that has just come, with all of its flows.
    let config = two.config(&services);
    two.nodes[1] = Some(two.daemon(1, &config));
    two.wait_until_shared();
    two.carry_both();
    two.go_on(&mut connections);
    two.wait_for_flows(1, &connections);
    two.nodes[0] = None;
    two.wait_for_groups(1, ["active", "active"], None);
    two.go_on(&mut connections);
}

#[test]
fn a_group_comes_and_goes_with_reloads_and_the_other_notices_nothing() {
    let services_before = both_services("l2-dsr", |family| family);
    let mut two = Two::with(&services_before);
    two.wait_for([Some("active"), Some("standby")]);
    let before = two.config(&services_before);
    two.more = NEW;
    let after = two.config(&services("l2-dsr")) + PROBE;
    let epoch = two.pair(0)["groups"][0]["epoch"].clone();
    let vips = Family::ALL.map(|family| SocketAddr::new(family.vip(VIP), HTTP));
    let over = AtomicBool::new(false);
    let is_open = |status: &Value| status["probes"][0]["open"] == true;
    std::thread::scope(|scope| {
        let asking = vips.map(|vip| {
            let (two, over) = (&two, &over);
            scope.spawn(move || {
                two.site.client.run(|| {
                    let mut connection = http::Connection::open(vip, LIMIT).expect("connect");
                    while !over.load(Ordering::Relaxed) {
                        connection.get("/").expect("the old connection lives");
                        http::get(vip, "/", LIMIT).expect("a new one does");
                    }
                })
            })
        });
        {
            let _over = Over(&over);
            // What the active node carries it goes on with, whether the other one knows the group or not.
            two.reload(0, &after).expect("a group comes");
            two.wait_for_groups(0, ["active", "active"], None);
            two.wait_until_node(0, "the other one is told of", |status| {
                let mut problems = status["problems"].as_array().into_iter().flatten();
                problems.any(|problem| problem == "lb2 does not know the group six")
            });
            two.reload(1, &after).expect("a group comes");
            let both = ["active", "active"];
            two.wait_for_groups(0, both, Some(["standby", "standby"]));
            two.wait_for_groups(1, ["standby", "standby"], Some(both));
            two.wait_until_node(0, "the probe port", is_open);
            let able = || {
                let output = two.node(0).run(&["failover", "--group", "six"]);
                output.is_ok_and(|output| output.status.success())
            };
            wait_until("it moves", LIMIT, able)
                .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
            two.wait_until_shared();
            two.wait_until_node(0, "the probe port", |status| !is_open(status));
            two.wait_until_node(1, "the probe port", is_open);
            // Its VIPs are to be in the other group again, which is not where they are.
            let refused = two.reload(0, &before).expect_err("at both nodes");
            assert!(refused.contains("would be at both nodes"), "{refused}");
            two.run(0, &["failover", "--group", "six", "--to", "lb1"]);
            two.wait_for_groups(0, both, Some(["standby", "standby"]));
            for index in [1, 0] {
                two.reload(index, &before).expect("a group goes");
            }
            two.wait_for([Some("active"), Some("standby")]);
        }
        asking
            .into_iter()
            .for_each(|asking| asking.join().expect("the client"));
    });
    for index in 0..2 {
        two.wait_until_node(index, "one group is left", |status| {
            let groups = status["pair"]["groups"].as_array();
            groups.is_some_and(|groups| groups.len() == 1 && groups[0]["epoch"] == epoch)
        });
    }
    two.served();
}
