//! Two interfaces in one subnet: each answers for its own VIPs, and replies leave where requests came in.

use std::net::{IpAddr, SocketAddr};

use forwarder_lab::Family;
use forwarder_lab::site::{HTTP, HTTP_REWRITTEN};

use super::world::{HEADER, VIP, World, pool, site, virtual_server};

const REQUESTS: u64 = 50;

#[test]
fn two_interfaces_in_one_subnet() {
    let site = site();
    let second: Vec<_> = Family::ALL
        .map(|family| family.in_subnet(family.vip(3)))
        .into();
    site.plug(&site.forwarder, "eth2", site.outside, &second)
        .expect("plug");
    let header = HEADER.replace(
        "{ name = \"inside\"",
        "{ name = \"second\", device = \"eth2\" }, { name = \"inside\"",
    );
    let mut config = String::new();
    for family in Family::ALL {
        config += &pool(&format!("web-{family}"), family, Some(HTTP_REWRITTEN));
        for (number, interface) in [(VIP, "outside"), (VIP + 1, "second")] {
            let more = format!(
                "pool = \"web-{family}\"\nsnat = \"automap\"\ninterfaces = [\"{interface}\"]"
            );
            let name = format!("{interface}-{family}");
            config += &virtual_server(&name, "full-nat", family.vip(number), HTTP, "tcp", &more);
        }
    }
    let world = World::run(site, &header, &config);
    for family in Family::ALL {
        for (number, device, other) in [(VIP, "eth0", "eth2"), (VIP + 1, "eth2", "eth0")] {
            let vip = family.vip(number);
            world.wait_for_all_backends(SocketAddr::new(vip, HTTP));
            assert_eq!(
                neighbour(&world, vip).as_deref(),
                Some(world.site.forwarder.mac(device).expect("MAC").as_str()),
                "{vip} is at {device}"
            );
            let before = traffic(&world, other);
            for _ in 0..REQUESTS {
                world.http(SocketAddr::new(vip, HTTP)).expect("answer");
            }
            let stray = traffic(&world, other) - before;
            assert!(
                stray < 3 * REQUESTS,
                "{stray} packets on {other}, none of which are due there"
            );
        }
    }
}

fn neighbour(world: &World, vip: IpAddr) -> Option<String> {
    world
        .site
        .router
        .neighbour("outside", vip)
        .expect("ip neighbour")
}

/// Packets an interface of the forwarder has received and sent.
fn traffic(world: &World, device: &str) -> u64 {
    let link = world
        .site
        .forwarder
        .show(&["link", "show", device])
        .expect("ip link");
    ["rx", "tx"]
        .iter()
        .filter_map(|way| link[0]["stats64"][way]["packets"].as_u64())
        .sum()
}
