//! ICMP errors from the network between client and forwarder reach the backend of the flow.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, wait_until};

use super::world::{LIMIT, VIP, World, both_services};

#[test]
fn l2_dsr() {
    backend_learns("l2-dsr");
}

#[test]
fn ipip_dsr() {
    backend_learns("ipip-dsr");
}

#[test]
fn gue_dsr() {
    backend_learns("gue-dsr");
}

#[test]
fn dnat() {
    backend_learns("dnat");
}

#[test]
fn full_nat() {
    backend_learns("full-nat");
}

/// The router can't pass on the backends' large answers and says so, to the VIP.
fn backend_learns(mode: &str) {
    let world = World::start(&both_services(mode, |family| family));
    for family in Family::ALL {
        let vip = family.vip(VIP);
        world.wait_for_all_backends(SocketAddr::new(vip, HTTP));
        // On the route, not the link: requests larger than that still come in.
        let route = format!("route replace {} dev access mtu lock 1300", family.client());
        world.site.router.ip(&route).expect("route");
        world.site.client.run(|| {
            for _ in 0..10 {
                let mut connection =
                    http::Connection::open(SocketAddr::new(vip, HTTP), LIMIT).expect("connect");
                connection
                    .download(1_000_000)
                    .expect("the backend sends smaller packets");
            }
            let mut socket =
                udp::Socket::open(SocketAddr::new(vip, ECHO), Duration::from_millis(200))
                    .expect("socket");
            wait_until("large answers arrive in fragments", LIMIT, || {
                socket.request(1400).is_ok()
            })
            .expect("answers");
        });
    }
}
