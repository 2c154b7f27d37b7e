//! Every mode in both families: transfers, idle connections, datagrams of every size, ping.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{Answer, http, icmp, udp};
use forwarder_lab::server::Server;
use forwarder_lab::site::{BACKENDS, ECHO, HTTP};
use forwarder_lab::{Family, Received, has_xdp};

use super::world::{LIMIT, LOCAL_VIP, VIP, World, both_services};

const TRANSFER: u64 = 50_000_000;
/// A port of the forwarder's host that no virtual server has: its way in.
const OWN_PORT: u16 = 2222;

#[test]
fn l2_dsr() {
    every_service("l2-dsr", |family| family);
}

#[test]
fn ipip_dsr() {
    every_service("ipip-dsr", |family| family);
}

#[test]
fn ipip_dsr_to_backends_of_the_other_family() {
    every_service("ipip-dsr", other);
}

#[test]
fn gue_dsr() {
    every_service("gue-dsr", |family| family);
}

#[test]
fn gue_dsr_to_backends_of_the_other_family() {
    every_service("gue-dsr", other);
}

#[test]
fn dnat() {
    every_service("dnat", |family| family);
}

#[test]
fn full_nat() {
    every_service("full-nat", |family| family);
}

#[test]
fn local() {
    every_service("local", |family| family);
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn every_service(mode: &str, backends: impl Fn(Family) -> Family) {
    let mut world = World::start(&both_services(mode, backends));
    let own: Vec<_> = Family::ALL
        .map(|family| SocketAddr::new(family.outside(), OWN_PORT))
        .into();
    let _own = Server::start(&world.site.forwarder, "own", &own, &[]).expect("serve");
    for family in Family::ALL {
        let vip = family.vip(if mode == "local" { LOCAL_VIP } else { VIP });
        let (web, echo) = (SocketAddr::new(vip, HTTP), SocketAddr::new(vip, ECHO));
        if mode == "local" {
            world.wait_for_answer(web);
        } else {
            world.wait_for_all_backends(web);
        }
        let before = from_backends(&world);
        world.site.client.run(|| {
            icmp::ping(vip, LIMIT).expect("the VIP answers ping");
            let mut idle = http::Connection::open(web, LIMIT).expect("connect");
            let before = idle.get("/before").expect("first request");
            check_client(mode, family, &before);

            let mut connection = http::Connection::open(web, LIMIT).expect("connect");
            connection.download(TRANSFER).expect("download");
            connection.upload(TRANSFER).expect("upload");

            let mut socket = udp::Socket::open(echo, LIMIT).expect("socket");
            // All of these fit into one packet, in a tunnel too.
            for length in [64, 65, 512, 1000, 1280, 1400] {
                check_client(mode, family, &socket.request(length).expect("datagram"));
            }
            if mode.ends_with("-dsr") && mode != "l2-dsr" {
                learn_path_mtu(family, &socket);
            }
            let whole = socket.path_mtu().expect("path MTU") - headers(family);
            check_client(
                mode,
                family,
                &socket
                    .request(whole)
                    .expect("datagram as large as the path takes"),
            );
            for length in [whole + 1, 4000, 9000] {
                check_client(
                    mode,
                    family,
                    &socket.request(length).expect("datagram in fragments"),
                );
            }

            assert_eq!(
                idle.get("/after").expect("the idle connection is resumed"),
                before
            );
            let own = SocketAddr::new(family.outside(), OWN_PORT);
            assert_eq!(
                http::get(own, "/", LIMIT)
                    .expect("the host's own service")
                    .backend,
                "own"
            );
            icmp::ping(family.outside(), LIMIT).expect("the host's own address answers ping");
        });
        // Direct server return goes past the forwarder; health checks do not.
        let (packets, transfer) = (from_backends(&world) - before, TRANSFER / 1500);
        match mode {
            "dnat" | "full-nat" => assert!(packets > transfer, "only {packets} packets came back"),
            _ => assert!(packets < transfer / 4, "{packets} packets came back"),
        }
    }
    let status = world.forwarder.interrupt().expect("SIGINT ends it");
    assert!(status.success(), "{status}\n{}", world.forwarder.log());
    for device in ["eth0", "eth1"] {
        assert!(
            !has_xdp(&world.site.forwarder, device),
            "XDP is left on {device}"
        );
    }
}

/// Packets that the forwarder has received on the side of the backends.
fn from_backends(world: &World) -> u64 {
    let received = Received::open(&world.site.forwarder, "eth1").expect("counter");
    received.packets().expect("counter")
}

/// IP and UDP headers of a datagram, bytes.
fn headers(family: Family) -> usize {
    match family {
        Family::V4 => 28,
        Family::V6 => 48,
    }
}

/// Sends a datagram that fits the client's link but not the tunnel, until the client's kernel knows.
fn learn_path_mtu(family: Family, socket: &udp::Socket) {
    forwarder_lab::wait_until("the path MTU is below the link's", LIMIT, || {
        let server = socket.server().expect("connected");
        let _ = udp::request(server, 1500 - headers(family), Duration::from_millis(50));
        socket.path_mtu().is_ok_and(|mtu| mtu < 1500)
    })
    .expect("path MTU");
}

fn check_client(mode: &str, family: Family, answer: &Answer) {
    match mode {
        "full-nat" => assert_eq!(answer.client.ip(), family.inside(), "automap"),
        _ => assert_eq!(
            answer.client, answer.local,
            "the client's address and port are kept"
        ),
    }
    let expected = if mode == "local" {
        &["forwarder"][..]
    } else {
        &BACKENDS[..]
    };
    assert!(expected.contains(&answer.backend.as_str()), "{answer:?}");
}
