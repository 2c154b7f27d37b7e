//! What a virtual server matches, and how it chooses.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use forwarder_lab::Family;
use forwarder_lab::site::{BACKENDS, ECHO, HTTP, HTTP_REWRITTEN};

use super::world::{VIP, World, pool, virtual_server, web};

#[test]
fn every_port_of_a_vip_and_one_of_its_own() {
    let mut config = String::new();
    for family in Family::ALL {
        let (vip, first) = (family.vip(VIP), family.backend(0));
        config += &pool(&format!("all-{family}"), family, None);
        config += &format!(
            "[[pool]]\nname = \"one-{family}\"\nbackend = [{{ name = \"b1\", address = \"{first}\" }}]\n"
        );
        let more = format!("pool = \"one-{family}\"");
        config += &virtual_server(&format!("one-{family}"), "l2-dsr", vip, HTTP, "tcp", &more);
        let more = format!("pool = \"all-{family}\"");
        config += &virtual_server(&format!("all-{family}"), "l2-dsr", vip, 1, "tcp", &more)
            .replace("port = 1\n", "port = \"any\"\n");
    }
    let world = World::start(&config);
    for family in Family::ALL {
        let at = |port| SocketAddr::new(family.vip(VIP), port);
        world.wait_for_all_backends(at(HTTP_REWRITTEN));
        world.wait_for_answers_of(at(HTTP), &["b1"]);
        assert!(
            world.udp(at(ECHO)).is_err(),
            "another protocol is not served"
        );
    }
}

#[test]
fn one_source_stays_with_one_backend() {
    let mut config = String::new();
    for family in Family::ALL {
        config += &web(family, "dnat", "affinity = \"source\"");
    }
    let world = World::start(&config);
    // Addresses .40 to .63 of the client's subnet.
    for family in Family::ALL {
        let web = SocketAddr::new(family.vip(VIP), HTTP);
        // From now on no backend comes that could take sources over.
        world.wait_until_up();
        world.wait_for_answer(web);
        let mut all = BTreeSet::new();
        for number in 40..64 {
            let source = match family {
                Family::V4 => format!("198.51.100.{number}"),
                Family::V6 => format!("2001:db8:100::{number}"),
            };
            use_source(&world, family, &source);
            let answers: BTreeSet<_> = (0..10)
                .map(|_| {
                    let answer = world.http(web).expect("answer");
                    assert_eq!(answer.client.ip().to_string(), source);
                    answer.backend
                })
                .collect();
            assert_eq!(answers.len(), 1, "{source} reached {answers:?}");
            all.extend(answers);
        }
        assert_eq!(all.len(), BACKENDS.len(), "24 sources reached only {all:?}");
    }
}

/// Makes the client use one more address of its subnet from now on.
pub fn use_source(world: &World, family: Family, source: &str) {
    let (address, route) = match family {
        Family::V4 => ("/24", "0.0.0.0/0 via 198.51.100.1"),
        Family::V6 => ("/64 nodad", "::/0 via 2001:db8:100::1"),
    };
    let (prefix, flags) = address.split_once(' ').unwrap_or((address, ""));
    let client = &world.site.client;
    client
        .ip(&format!(
            "address replace {source}{prefix} dev eth0 {flags}"
        ))
        .expect("address");
    client
        .ip(&format!("route replace {route} src {source}"))
        .expect("route");
}
