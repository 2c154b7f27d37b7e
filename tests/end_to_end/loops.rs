//! Forwarders that have each other for backends: a packet does not go round for ever.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use forwarder_lab::client::udp;
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Forwarder, wait_until};
use serde_json::Value;

use super::world::{LIMIT, binary, site, virtual_server};

const MODES: [&str; 2] = ["dnat", "full-nat"];
/// What packets start with; the router on the way takes one.
const TTL: u64 = 64;

/// The VIP of a mode at a node, of three, in a ring.
fn vip(family: Family, mode: usize, node: usize) -> IpAddr {
    family.backend((30 + 3 * mode + node % 3) as u8)
}

/// In both modes, both families: whatever comes to this node's VIP goes to the next one's.
fn config(node: usize) -> String {
    let mut config = "version = 1\nlimits = { flows = 10000 }\n\
         interface = [{ name = \"inside\", device = \"eth0\" }]\n"
        .to_owned();
    for (number, mode) in MODES.into_iter().enumerate() {
        for family in Family::ALL {
            let name = format!("{mode}-{family}");
            let snat = if mode == "full-nat" {
                "automap"
            } else {
                "none"
            };
            let more =
                format!("pool = \"{name}\"\nsnat = \"{snat}\"").replace("snat = \"none\"", "");
            let here = vip(family, number, node);
            config += &virtual_server(&name, mode, here, ECHO, "udp", &more);
            let next = vip(family, number, node + 1);
            config +=
                &format!("[[pool]]\nname = \"{name}\"\nbackend = [{{ address = \"{next}\" }}]\n");
        }
    }
    config
}

/// Packets that a node has forwarded, and those whose TTL ran out there.
fn counted(node: &Forwarder) -> (u64, u64) {
    let status = node.status().expect("status");
    let servers = status["virtual_servers"].as_array().expect("a list");
    let packets = servers
        .iter()
        .filter_map(|each| each["in"]["packets"].as_u64());
    let drops = node.run(&["drops", "-o", "json"]).expect("drops");
    let drops: Value = serde_json::from_slice(&drops.stdout).expect("JSON");
    let drops = drops.as_array().expect("a list").iter();
    let drops = drops.filter(|each| each["reason"] == "drop-ttl");
    (
        packets.sum(),
        drops.filter_map(|each| each["packets"].as_u64()).sum(),
    )
}

#[test]
fn a_packet_ends_after_its_ttl_in_a_ring_of_three_forwarders() {
    let site = site();
    let hosts = site.backends.iter().enumerate();
    let nodes: Vec<_> = hosts
        .map(|(number, host)| {
            let directory = site.directory().join(format!("node-{number}"));
            fs::create_dir(&directory).expect("a directory");
            let started = Forwarder::start(binary(), host, &directory, &config(number));
            started.unwrap_or_else(|error| panic!("{error:#}"))
        })
        .collect();
    for node in &nodes {
        let known = |status: &Value| {
            let pools = status["pools"].as_array().into_iter().flatten();
            let hops = pools.map(|pool| &pool["backends"][0]["next_hop"]);
            hops.filter(|hop| hop.is_object()).count() == 2 * MODES.len()
        };
        wait_until("the ring is closed", LIMIT * 2, || {
            node.status().is_ok_and(|status| known(&status))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", node.diagnosis()));
    }
    let all = || {
        nodes
            .iter()
            .map(counted)
            .fold((0, 0), |all, node| (all.0 + node.0, all.1 + node.1))
    };
    let mut ended = 0;
    for mode in 0..MODES.len() {
        for family in Family::ALL {
            let (before, _) = all();
            let server = SocketAddr::new(vip(family, mode, 0), ECHO);
            let asked = site
                .client
                .run(|| udp::request(server, 100, Duration::from_millis(1)));
            assert!(asked.is_err(), "nobody is there to answer");
            ended += 1;
            wait_until("its TTL runs out", LIMIT * 2, || all().1 == ended)
                .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", all(), nodes[0].diagnosis()));
            let (after, _) = all();
            let round = after - before;
            assert!((3..TTL).contains(&round), "{server}: {round} times");
        }
    }
}
