//! Backends that die, come back, or are drained.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::site::{BACKENDS, ECHO, HTTP};
use forwarder_lab::{Family, wait_until};

use super::world::{HEADER, LIMIT, VIP, World, both_services, site, virtual_server};

const FLOWS: usize = 60;
const VICTIM: &str = "b2";
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn l2_dsr() {
    flows_of_the_dead_move("l2-dsr");
}

#[test]
fn ipip_dsr() {
    flows_of_the_dead_move("ipip-dsr");
}

#[test]
fn gue_dsr() {
    flows_of_the_dead_move("gue-dsr");
}

#[test]
fn dnat() {
    flows_of_the_dead_move("dnat");
}

#[test]
fn full_nat() {
    flows_of_the_dead_move("full-nat");
}

/// Established flows on living backends stay where they are through a death and a return.
fn flows_of_the_dead_move(mode: &str) {
    let world = World::start(&both_services(mode, |family| family));
    for family in Family::ALL {
        let (web, echo) = (
            SocketAddr::new(family.vip(VIP), HTTP),
            SocketAddr::new(family.vip(VIP), ECHO),
        );
        world.wait_for_all_backends(web);
        let (connections, mut sockets) = world.site.client.run(|| {
            let connections: Vec<_> = (0..FLOWS)
                .map(|_| {
                    let mut connection = http::Connection::open(web, LIMIT).expect("connect");
                    let backend = connection.get("/").expect("request").backend;
                    (connection, backend)
                })
                .collect();
            let sockets: Vec<_> = (0..FLOWS)
                .map(|_| {
                    let mut socket = udp::Socket::open(echo, SHORT).expect("socket");
                    let mut backend = None;
                    wait_until("an answer", LIMIT, || {
                        backend = socket.request(100).ok().map(|answer| answer.backend);
                        backend.is_some()
                    })
                    .expect("answer");
                    let backend = backend.expect("answer");
                    (socket, backend)
                })
                .collect();
            (connections, sockets)
        });
        let per_backend = connections
            .iter()
            .fold(BTreeMap::new(), |mut counts, (_, backend)| {
                *counts.entry(backend.as_str()).or_insert(0) += 1;
                counts
            });
        assert_eq!(per_backend.len(), BACKENDS.len(), "{per_backend:?}");

        world.site.connect(1, false).expect("cut the cable");
        world.wait_for_answers_of(web, &["b1", "b3"]);
        let (orphans, mut connections): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .partition(|(_, backend)| backend == VICTIM);
        for (mut orphan, _) in orphans {
            // It speaks again, and the backend that it has moved to does not know it.
            let error = orphan.get("/").expect_err("nobody knows it");
            let reset = |cause: &std::io::Error| cause.kind() == ErrorKind::ConnectionReset;
            assert!(
                error.downcast_ref().is_some_and(reset),
                "a flow on a dead backend moves at once and is reset, not left silent: {error:?}"
            );
        }
        for (connection, backend) in &mut connections {
            let answer = connection
                .get("/")
                .expect("a flow on a living backend goes on");
            assert_eq!(
                &answer.backend, backend,
                "a flow on a living backend stays there"
            );
        }
        for (socket, _) in sockets.iter_mut().filter(|(_, backend)| backend == VICTIM) {
            let mut moved = None;
            wait_until("a datagram flow leaves the dead backend", LIMIT, || {
                moved = socket.request(100).ok();
                moved.is_some()
            })
            .expect("move");
            assert_ne!(moved.expect("answer").backend, VICTIM);
        }

        world.site.connect(1, true).expect("plug the cable in");
        world.wait_for_all_backends(web);
        for (connection, backend) in &mut connections {
            let answer = connection
                .get("/")
                .expect("a flow survives another backend's return");
            assert_eq!(
                &answer.backend, backend,
                "a flow stays when another backend returns"
            );
        }
    }
}

#[test]
fn a_backend_that_calls_itself_sick_gets_nothing_new() {
    let world = World::start(&both_services("full-nat", |family| family));
    let web = SocketAddr::new(Family::V4.vip(VIP), HTTP);
    world.wait_for_all_backends(web);
    let victim = world.site.server(1).expect("runs");
    victim.set_health(503);
    world.wait_for_answers_of(web, &["b1", "b3"]);
    victim.set_health(200);
    world.wait_for_all_backends(web);
}

#[test]
fn a_closed_port_is_noticed() {
    let mut world = World::start(&both_services("dnat", |family| family));
    let web = SocketAddr::new(Family::V6.vip(VIP), HTTP);
    world.wait_for_all_backends(web);
    world.site.stop_server(0);
    world.wait_for_answers_of(web, &["b2", "b3"]);
    world.site.stop_server(1);
    world.wait_for_answers_of(web, &["b3"]);
}

#[test]
fn drained_disabled_and_weightless_backends_get_nothing() {
    let backend = |index: u8, more: &str| {
        format!(
            "{{ name = \"{}\", address = \"{}\", {more} }}",
            BACKENDS[usize::from(index)],
            Family::V4.backend(index)
        )
    };
    let mut config = String::new();
    for (number, idle) in (VIP..).zip(["state = \"drained\"", "state = \"disabled\"", "weight = 0"])
    {
        let more = format!("pool = \"p{number}\"");
        config += &virtual_server(
            &format!("v{number}"),
            "l2-dsr",
            Family::V4.vip(number),
            HTTP,
            "tcp",
            &more,
        );
        let backends = [
            backend(0, "weight = 1"),
            backend(1, idle),
            backend(2, "weight = 1"),
        ];
        config += &format!(
            "[[pool]]\nname = \"p{number}\"\nbackend = [{}]\n",
            backends.join(", ")
        );
    }
    let world = World::run(site(), HEADER, &config);
    for number in VIP..VIP + 3 {
        world.wait_for_answers_of(SocketAddr::new(Family::V4.vip(number), HTTP), &["b1", "b3"]);
    }
}
