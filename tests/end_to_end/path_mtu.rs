//! Packets that are too big for the way to the backend.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, wait_until};

use super::world::{LIMIT, VIP, World, both_services, site};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn ipip_dsr_over_ipv4() {
    discover("ipip-dsr", |_| Family::V4, 1500 - 20);
}

#[test]
fn ipip_dsr_over_ipv6() {
    discover("ipip-dsr", |_| Family::V6, 1500 - 40);
}

#[test]
fn gue_dsr_over_ipv4() {
    discover("gue-dsr", |_| Family::V4, 1500 - 28);
}

#[test]
fn gue_dsr_over_ipv6() {
    discover("gue-dsr", |_| Family::V6, 1500 - 48);
}

/// The client learns exactly what fits, by datagrams and by TCP.
fn discover(mode: &str, backends: impl Fn(Family) -> Family, expected: usize) {
    let world = World::start(&both_services(mode, backends));
    check(&world, expected);
}

#[test]
fn nat_into_a_network_of_smaller_packets() {
    let site = site();
    for (host, device) in [(&site.forwarder, "eth1"), (&site.router, "inside")] {
        host.ip(&format!("link set {device} mtu 1400"))
            .expect("mtu");
    }
    for backend in &site.backends {
        backend.ip("link set eth0 mtu 1400").expect("mtu");
    }
    let world = World::run(
        site,
        super::world::HEADER,
        &both_services("full-nat", |family| family),
    );
    check(&world, 1400);
}

fn check(world: &World, expected: usize) {
    for family in Family::ALL {
        let vip = family.vip(VIP);
        world.wait_for_all_backends(SocketAddr::new(vip, HTTP));
        let headers = if family == Family::V4 { 28 } else { 48 };
        world.site.client.run(|| {
            let mut socket = udp::Socket::open(SocketAddr::new(vip, ECHO), SHORT).expect("socket");
            socket.never_fragment().expect("set DF");
            assert_eq!(
                socket.path_mtu().expect("path MTU"),
                1500,
                "nothing is known yet"
            );
            wait_until("the client learns the path MTU", LIMIT, || {
                assert!(
                    socket.request(1500 - headers).is_err(),
                    "this can't have fitted"
                );
                socket.path_mtu().is_ok_and(|mtu| mtu != 1500)
            })
            .expect("path MTU");
            assert_eq!(socket.path_mtu().expect("path MTU"), expected);
            let mut socket = udp::Socket::open(SocketAddr::new(vip, ECHO), LIMIT).expect("socket");
            socket.never_fragment().expect("set DF");
            socket
                .request(expected - headers)
                .expect("what fits is answered");
            assert!(
                socket.request(expected - headers + 1).is_err(),
                "one byte more is refused"
            );
        });
        // TCP, without what the kernel has learned from the datagrams.
        world.site.client.ip("route flush cache").expect("forget");
        world.site.client.ip6("route flush cache").expect("forget");
        let web = SocketAddr::new(vip, HTTP);
        world.site.client.run(|| {
            let mut connection = http::Connection::open(web, LIMIT).expect("connect");
            connection.upload(2_000_000).expect("upload");
            connection.download(2_000_000).expect("download");
        });
    }
}
