//! What a node does that has lost its peer, under each policy.

use std::net::IpAddr;

use forwarder_lab::{Family, wait_until};

use super::pair::{LIMIT, Two};
use super::world::both_services;

fn start(more: String) -> Two {
    // As long as the test runs.
    let more = Box::leak(more.into_boxed_str());
    let two = Two::of(&both_services("l2-dsr", |family| family), more);
    two.wait_for([Some("active"), Some("standby")]);
    two
}

impl Two {
    /// Waits until a node has a role, whatever the other sees of it.
    fn wait_for_role(&self, index: usize, role: &str) {
        wait_until(role, LIMIT, || self.pair(index)["role"] == role)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }

    /// Cuts the first node off from these addresses, or no longer.
    fn cut(&self, addresses: &[IpAddr], verb: &str) {
        for address in addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let route = format!("route {verb} blackhole {address}/{bits}");
            self.host(0).ip(&route).expect("a route");
        }
    }
}

/// The second node, on both paths.
fn peer() -> [IpAddr; 2] {
    [Family::V4.vip(3), Family::V6.backend(20)]
}

#[test]
fn an_unpreferred_node_waits_for_its_operator() {
    let mut two = start("partition = \"yield\", ".to_owned());
    two.nodes[0] = None;
    let told = "lb2 may not be active without lb1";
    wait_until("it says that it waits", LIMIT, || {
        two.node(1).log().contains(told) && two.pair(1)["role"] == "standby"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.run(1, &["failover", "--to", "lb2"]);
    two.wait_for([None, Some("active")]);
    two.served();
}

#[test]
fn a_node_cut_off_from_its_gateway_steps_aside() {
    let gateway = Family::V4.router();
    let two = start(format!(
        "partition = \"gateway\", gateway = \"{gateway}\", "
    ));
    wait_until("both reach the gateway", LIMIT, || {
        let answers = format!("gateway {gateway} answers");
        (0..2).all(|node| two.node(node).log().contains(&answers))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    let [one, other] = peer();
    two.cut(&[one, other, gateway], "add");
    two.wait_for_role(0, "standby");
    two.wait_for_role(1, "active");
    two.served();
    two.cut(&[one, other, gateway], "del");
    // Whoever reaches the gateway before the peer answers may have taken over meanwhile: one stays.
    wait_until("one of two is active", LIMIT, || {
        let mut roles = [0, 1].map(|node| two.pair(node)["role"].to_string());
        roles.sort_unstable();
        roles == ["\"active\"", "\"standby\""]
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.served();
}
