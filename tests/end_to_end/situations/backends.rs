//! Backends that get nothing, and ways to them that do not work.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::Family;
use forwarder_lab::client::http;
use forwarder_lab::decapsulate;
use forwarder_lab::site::BACKENDS;
use forwarder_lab::wait_until;

use super::super::world::{HEADER, LIMIT, binary, pool, site, virtual_server};
use super::{expect, expect_all, run, start};

/// A pool with one backend, which is not checked.
fn single(name: &str, address: &str, more: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nbackend = [{{ name = \"{name}-1\", address = \"{address}\"{more} }}]\n"
    )
}

#[test]
fn backends_that_get_nothing() {
    let mut site = site();
    let vip = |number| Family::V4.vip(number);
    let dead = "[[pool]]\nname = \"dead\"\nhealth_check = \"dead\"\nbackend = [{ name = \"d1\", address = \"192.0.2.11\" }]\n";
    let check = "health_check = [";
    let header = HEADER.replace(
        check,
        &format!("{check}{{ name = \"dead\", type = \"tcp\", port = 4711, interval = \"200ms\", timeout = \"1s\", fall = 1 }}, "),
    );
    let mut config = header + &pool("web", Family::V4, None) + dead;
    let pools = [
        single("drained", "192.0.2.11", ", state = \"drained\""),
        single("disabled", "192.0.2.11", ", state = \"disabled\""),
        single("weightless", "192.0.2.11", ""),
        single("ghost", "192.0.2.77", ""),
        single("far", "198.18.0.1", ""),
        single("nowhere", "198.18.1.1", ", interface = \"inside\""),
    ];
    let names = [
        "web",
        "dead",
        "drained",
        "disabled",
        "weightless",
        "ghost",
        "far",
        "nowhere",
    ];
    config += &pools.concat();
    for (number, name) in (10..).zip(names) {
        let mode = if number < 15 { "l2-dsr" } else { "dnat" };
        config += &virtual_server(
            name,
            mode,
            vip(number),
            80,
            "tcp",
            &format!("pool = \"{name}\""),
        );
    }
    site.forwarder
        .ip("route add 198.18.0.0/24 via 192.0.2.99 dev eth1")
        .expect("a route by way of a router that is not there");
    let forwarder = start(&site, &config);
    let to = |number: u8| format!("tcp 198.51.100.7:40112 -> {}:80 --in eth0", vip(number));

    let weight = forwarder.run(&["pool", "weight", "weightless", "weightless-1", "0"]);
    assert!(weight.expect("run").status.success());
    expect_all(
        &forwarder,
        &[
            (
                &to(11),
                "drop-no-backend",
                &["d1 is down: ", "refused"],
                "nc -vz 192.0.2.11 4711",
            ),
            (
                &to(12),
                "drop-no-backend",
                &["drained-1 is drained"],
                "forwarder pool enable drained drained-1",
            ),
            (
                &to(13),
                "drop-no-backend",
                &["disabled-1 is disabled"],
                "forwarder pool enable disabled disabled-1",
            ),
            (
                &to(14),
                "drop-no-backend",
                &["weightless-1 has weight 0"],
                "forwarder pool weight weightless weightless-1 1",
            ),
            (
                &to(15),
                "drop-no-next-hop",
                &["ghost-1 (192.0.2.77) does not answer ARP requests on eth1"],
                "ip neighbour show to 192.0.2.77 dev eth1",
            ),
            (
                &to(16),
                "drop-no-next-hop",
                &["192.0.2.99, the router towards far-1, does not answer ARP requests on eth1"],
                "ip neighbour show to 192.0.2.99 dev eth1",
            ),
            (
                &to(17),
                "drop-no-next-hop",
                &["no interface of the config leads to nowhere-1"],
                "ip route get 198.18.1.1",
            ),
        ],
    );

    // What the step says puts it right.
    let enabled = forwarder.run(&["pool", "enable", "drained", "drained-1"]);
    assert!(enabled.expect("run").status.success());
    expect(
        &forwarder,
        (
            &to(12),
            "l2-dsr",
            &["On drained-1, the VIP must be on loopback"],
            "ip address show to 203.0.113.12 dev lo",
        ),
    );

    // One backend of three goes; the others have the packet, and the trace says so.
    site.stop_server(1);
    let second = BACKENDS[1];
    let down = format!("2 of 3 backends take new flows; {second} down: ");
    let says = [
        &down,
        "forward: l2-dsr",
        "curl -v http://192.0.2.12:80/health",
    ];
    let mut last = String::new();
    wait_until("the second backend is down", LIMIT, || {
        last = String::from_utf8_lossy(&run(&forwarder, &to(10), &[]).stdout).into_owned();
        says.iter().all(|part| last.contains(part))
    })
    .unwrap_or_else(|error| panic!("{error}\n{last}"));

    // The link to the backends goes.
    site.forwarder.ip("link set eth1 down").expect("link");
    expect(
        &forwarder,
        (
            &to(15),
            "drop-no-next-hop",
            &["eth1, the way to ghost-1, is down"],
            "ip link set eth1 up",
        ),
    );
}

#[test]
fn ways_that_are_too_narrow() {
    let site = site();
    let vip = |number| Family::V4.vip(number);
    let config = HEADER.to_owned()
        + &pool("web", Family::V4, None)
        + &pool("nat", Family::V4, Some(8080))
        + &virtual_server("tunnel", "ipip-dsr", vip(10), 80, "tcp", "pool = \"web\"")
        + &virtual_server("gue", "gue-dsr", vip(11), 80, "tcp", "pool = \"web\"")
        + &virtual_server("nat", "dnat", vip(12), 80, "tcp", "pool = \"nat\"")
        + &virtual_server(
            "full",
            "full-nat",
            vip(13),
            80,
            "tcp",
            "pool = \"nat\"\nsnat = \"automap\"",
        );
    let forwarder = start(&site, &config);
    let to = |number: u8, more: &str| {
        format!(
            "tcp 198.51.100.7:40112 -> {}:80 {more} --in eth0",
            vip(number)
        )
    };
    // Nobody takes the tunnel off on the backends.
    expect_all(
        &forwarder,
        &[
            (
                &to(10, ""),
                "ipip-dsr",
                &["the tunnel must be taken off"],
                "forwarder backend eth0 --vip 203.0.113.10",
            ),
            (
                &to(11, ""),
                "gue-dsr",
                &["the tunnel must be taken off"],
                "forwarder backend eth0 --vip 203.0.113.11",
            ),
            (
                &to(10, "ack length 1500"),
                "answer-too-big",
                &[
                    "1520 bytes with the outer header, but 1500 fit",
                    "mss_clamp",
                ],
                "ip link set eth1 mtu 1520",
            ),
            (
                &to(10, "ack length 1500 no-df"),
                "drop-too-big",
                &["1520 bytes with the outer header, but 1500 fit"],
                "ip link set eth1 mtu 1520",
            ),
            (
                &to(10, "ttl 1"),
                "drop-ttl",
                &["the TTL was used up"],
                "traceroute -n 203.0.113.10",
            ),
            (
                &to(12, "ttl 1"),
                "drop-ttl",
                &["the TTL was used up"],
                "traceroute -n 203.0.113.12",
            ),
            (
                &to(12, ""),
                "dnat",
                &["must go by way of this host"],
                "ip route get 198.51.100.7",
            ),
            (
                &to(13, ""),
                "full-nat",
                &["the service must listen"],
                "ss -lntu 'sport = :8080'",
            ),
        ],
    );
    let becomes = super::json(&forwarder, &to(10, "")).0["becomes"].to_string();
    assert!(
        becomes.contains("ipip ")
            && becomes.contains("carrying tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn ttl 63"),
        "{becomes}"
    );

    // What the step says puts it right.
    let server = SocketAddr::new(vip(10), 80);
    let get = || {
        site.client
            .run(|| http::get(server, "/", Duration::from_secs(2)))
    };
    get().expect_err("the backends do not know the tunnel");
    let backends = site.backends.iter().map(|backend| {
        decapsulate(binary(), backend, "eth0", site.directory()).expect("run on the backend")
    });
    let _running: Vec<_> = backends.collect();
    wait_until("the tunnel is taken off", LIMIT, || get().is_ok()).expect("an answer");
}
