//! Interfaces that do not do what they should.

use forwarder_lab::{Family, decapsulate};

use super::super::world::{HEADER, binary, pool, site, virtual_server};
use super::{expect, start};

#[test]
fn interfaces_that_do_not_work() {
    let site = site();
    site.forwarder
        .ip(
            "link add slow0 type bridge\nlink add port type veth peer name plug\n\
             link set port master slow0 up\nlink set slow0 up",
        )
        .expect("a device without XDP of its own");
    let header = HEADER.replace(
        "device = \"eth1\" }",
        "device = \"eth1\" }, { name = \"slow\", device = \"slow0\", allow_generic = true }",
    );
    let config = header
        + &pool("web", Family::V4, None)
        + &virtual_server(
            "web",
            "l2-dsr",
            Family::V4.vip(10),
            80,
            "tcp",
            "pool = \"web\"",
        );
    let forwarder = start(&site, &config);
    let at = |device: &str| format!("tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in {device}");

    // The device is up, and nothing is plugged in.
    expect(
        &forwarder,
        (
            &at("slow"),
            "l2-dsr",
            &["slow0 has no carrier", "no packet comes in"],
            "ethtool slow0",
        ),
    );

    // Generic XDP.
    site.forwarder
        .ip("link set plug up")
        .expect("the other end of the cable");
    expect(
        &forwarder,
        (
            &at("slow"),
            "l2-dsr",
            &["generic mode on slow0"],
            "ethtool -i slow0",
        ),
    );

    // The device is down.
    site.forwarder.ip("link set slow0 down").expect("link");
    expect(
        &forwarder,
        (
            &at("slow"),
            "l2-dsr",
            &["slow0 is down", "no packet comes in"],
            "ip link set slow0 up",
        ),
    );

    // The device was replaced by one that somebody else's program is on, and the backends went with it.
    site.forwarder
        .ip("link add other type veth peer name far\nlink set other up\nlink set far up")
        .expect("a device");
    let _foreign =
        decapsulate(binary(), &site.forwarder, "other", site.directory()).expect("a program");
    site.forwarder
        .ip("link del eth1\nlink set other down\nlink set other name eth1\nlink set eth1 up")
        .expect("rename");
    expect(
        &forwarder,
        (
            &at("eth1"),
            "drop-no-backend",
            &["not attached to eth1", "already has an XDP program"],
            "ip -details link show dev eth1",
        ),
    );
}
