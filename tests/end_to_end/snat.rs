//! Source addresses: pools, connections that backends open, ports that belong to no flow.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::server::Server;
use forwarder_lab::site::{BACKENDS, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, wait_until};

use super::world::{HEADER, LIMIT, VIP, World, pool, site, virtual_server};

/// Two addresses inside that only the SNAT pool uses.
fn pool_addresses(family: Family) -> [IpAddr; 2] {
    [family.backend(40), family.backend(41)]
}

#[test]
fn full_nat_from_a_pool() {
    let site = site();
    let mut config = String::new();
    for family in Family::ALL {
        let addresses = pool_addresses(family);
        for address in addresses {
            let flags = if family == Family::V6 { "nodad" } else { "" };
            let address = family.in_subnet(address);
            site.forwarder
                .ip(&format!("address add {address} dev eth1 {flags}"))
                .expect("address");
        }
        let [first, second] = addresses;
        config += &format!(
            "[[snat_pool]]\nname = \"out-{family}\"\naddresses = [\"{first}\", \"{second}\"]\n\
             ports = \"20000-20999\"\ninterface = \"inside\"\n"
        );
        config += &pool(&format!("web-{family}"), family, Some(HTTP_REWRITTEN));
        let more = format!("pool = \"web-{family}\"\nsnat = \"out-{family}\"");
        config += &virtual_server(
            &format!("web-{family}"),
            "full-nat",
            family.vip(VIP),
            HTTP,
            "tcp",
            &more,
        );
    }
    let world = World::run(site, HEADER, &config);
    for family in Family::ALL {
        let web = SocketAddr::new(family.vip(VIP), HTTP);
        world.wait_for_all_backends(web);
        let clients: BTreeSet<_> = (0..200)
            .map(|_| world.http(web).expect("answer").client)
            .collect();
        let seen: Vec<_> = clients
            .iter()
            .map(|client| client.ip())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(
            seen,
            pool_addresses(family),
            "both addresses are used, and no other"
        );
        assert!(
            clients
                .iter()
                .all(|client| (20000..=20999).contains(&client.port())),
            "{clients:?}"
        );
        assert!(
            clients.len() > 150,
            "ports hardly repeat: {} of 200",
            clients.len()
        );
    }
}

#[test]
fn backends_open_connections_through_egress_snat() {
    let mut config = String::new();
    for (family, source) in [
        (Family::V4, "192.0.2.0/24"),
        (Family::V6, "2001:db8:2::/64"),
    ] {
        config += &format!(
            "[[egress]]\nsource = \"{source}\"\ninterface = \"outside\"\nsnat = \"automap\"\n"
        );
        // A file without a virtual server would have nothing to forward.
        config += &pool(&format!("web-{family}"), family, Some(HTTP_REWRITTEN));
        let more = format!("pool = \"web-{family}\"");
        config += &virtual_server(
            &format!("web-{family}"),
            "dnat",
            family.vip(VIP),
            HTTP,
            "tcp",
            &more,
        );
    }
    let site = site();
    let world = World::run(site, HEADER, &config);
    let needed = || -> Vec<String> {
        let status = world.forwarder.status().expect("status");
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let commands = problems.iter().filter_map(|problem| {
            let (_, command) = problem.as_str()?.split_once("sysctl -w ")?;
            Some(command.to_owned())
        });
        commands.collect()
    };
    // The kernel tells a route only to an interface that may forward, and the daemon says what to do.
    let commands = ["net.ipv4", "net.ipv6"].map(|net| format!("{net}.conf.eth1.forwarding=1"));
    wait_until("the problems are told", LIMIT, || needed() == commands).expect("problems");
    wait_until("the log says so", LIMIT, || {
        let said = world.forwarder.log();
        commands.iter().all(|command| said.contains(command))
    })
    .expect("warnings");
    for command in &commands {
        let (name, value) = command.split_once('=').expect("a setting");
        let name = name.replace('.', "/");
        world
            .site
            .forwarder
            .sysctl(&[(&name, value)])
            .expect("sysctl");
    }
    wait_until("the problems are over", LIMIT, || needed().is_empty()).expect("no problems");
    let at = |port| Family::ALL.map(|family| SocketAddr::new(family.client(), port));
    let _server =
        Server::start(&world.site.client, "internet", &at(8000), &at(9000)).expect("serve");
    for (family, index) in [(Family::V4, 0), (Family::V6, 1)] {
        world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
        for (backend, name) in world.site.backends.iter().zip(BACKENDS) {
            backend.run(|| {
                let short = Duration::from_secs(2);
                wait_until("a backend reaches the world", LIMIT, || {
                    http::get(at(8000)[index], "/", short).is_ok()
                })
                .unwrap_or_else(|error| {
                    let packet = format!(
                        "tcp {}:40000 -> {} --in eth1",
                        family.backend(0),
                        at(8000)[index]
                    );
                    panic!(
                        "{name} {family}: {error:#}\n{:?}",
                        world.forwarder.trace(&packet)
                    )
                });
                for _ in 0..20 {
                    let answer = http::get(at(8000)[index], "/", LIMIT).expect("answer");
                    assert_eq!(
                        (answer.backend.as_str(), answer.client.ip()),
                        ("internet", family.outside())
                    );
                    let answer = udp::request(at(9000)[index], 1000, LIMIT).expect("answer");
                    assert_eq!(
                        (answer.backend.as_str(), answer.client.ip()),
                        ("internet", family.outside())
                    );
                }
                let mut connection =
                    http::Connection::open(at(8000)[index], LIMIT).expect("connect");
                connection.download(5_000_000).expect("download");
                connection.upload(5_000_000).expect("upload");
            });
        }
    }
}

#[test]
fn a_port_of_the_range_without_a_flow_is_silent() {
    let mut config = String::new();
    for family in Family::ALL {
        config += &pool(&format!("web-{family}"), family, Some(HTTP_REWRITTEN));
        let more = format!("pool = \"web-{family}\"\nsnat = \"automap\"");
        config += &virtual_server(
            &format!("web-{family}"),
            "full-nat",
            family.vip(VIP),
            HTTP,
            "tcp",
            &more,
        );
    }
    let world = World::start(&config);
    for family in Family::ALL {
        world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
        let connect = |port, limit| {
            world.site.backends[0].run(|| {
                let server = SocketAddr::new(family.inside(), port);
                std::net::TcpStream::connect_timeout(&server, limit)
                    .expect_err("nobody listens")
                    .kind()
            })
        };
        assert_eq!(
            connect(20000, Duration::from_millis(500)),
            std::io::ErrorKind::TimedOut,
            "a port of the range"
        );
        assert_eq!(
            connect(9, LIMIT),
            std::io::ErrorKind::ConnectionRefused,
            "a port of the host's own"
        );
    }
}
