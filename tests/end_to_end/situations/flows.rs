//! NAT flows that are not there, or find no room; new flows that come too fast.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::{Family, wait_until};

use super::super::world::{HEADER, LIMIT, site, virtual_server};
use super::{expect_all, json, start};

#[test]
fn flows_that_cannot_be() {
    let site = site();
    let vip = |number| Family::V4.vip(number);
    site.forwarder
        .ip("address add 192.0.2.51/24 dev eth1")
        .expect("address");
    let config = HEADER.to_owned()
        + "[[snat_pool]]\nname = \"one\"\naddresses = [\"192.0.2.51\"]\nports = \"20000-20000\"\ninterface = \"inside\"\n\
           [[pool]]\nname = \"single\"\nbackend = [{ name = \"s1\", address = \"192.0.2.11\", port = 8080 }]\n\
           [[pool]]\nname = \"echo\"\nbackend = [{ name = \"e1\", address = \"192.0.2.11\", port = 7007 }]\n"
        + &virtual_server(
            "scarce",
            "full-nat",
            vip(10),
            80,
            "tcp",
            "pool = \"single\"\nsnat = \"one\"",
        )
        + &virtual_server("nat", "dnat", vip(11), 80, "tcp", "pool = \"single\"")
        + &virtual_server(
            "slow",
            "dnat",
            vip(12),
            7,
            "udp",
            "pool = \"echo\"\nnew_flows_per_second = 1",
        );
    let forwarder = start(&site, &config);
    let to = |number: u8, more: &str| {
        format!(
            "tcp 198.51.100.7:1025 -> {}:80 {more} --in eth0",
            vip(number)
        )
    };

    // The only port is taken.
    let mut connection = None;
    wait_until("a connection", LIMIT, || {
        let server = SocketAddr::new(vip(10), 80);
        let open = || {
            let mut connection = http::Connection::open(server, Duration::from_secs(2))?;
            connection.get("/")?;
            anyhow::Ok(connection)
        };
        connection = site.client.run(|| open().ok());
        connection.is_some()
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", forwarder.diagnosis()));
    expect_all(
        &forwarder,
        &[
            (
                &to(10, ""),
                "drop-snat-exhausted",
                &[
                    "SNAT pool one, addresses: 1, ports 20000-20000",
                    "towards s1",
                ],
                "forwarder reload",
            ),
            // The middle of a connection that has no flow.
            (
                &to(11, "ack"),
                "drop-no-flow",
                &["a new one begins with a SYN"],
                "forwarder trace \"tcp 198.51.100.7:1025 -> 203.0.113.11:80 syn --in eth0\"",
            ),
            // An answer that nobody waits for.
            (
                "tcp 192.0.2.12:8080 -> 192.0.2.51:20000 syn ack --in eth1",
                "drop-snat-no-flow",
                &["the flow is over, or the packet was never asked for"],
                "tcpdump -e -ni eth1 'host 192.0.2.12'",
            ),
        ],
    );
    // The one flow there is, from its other side.
    let (reply, _) = json(
        &forwarder,
        "tcp 192.0.2.11:8080 -> 192.0.2.51:20000 ack --in eth1",
    );
    assert_eq!(reply["reason"], "nat-reply", "{reply:#}");
    assert_eq!(reply["backend"], "s1", "{reply:#}");
    drop(connection);

    // Flows come faster than they are let in.
    let server = SocketAddr::new(vip(12), 7);
    let packet = format!("udp 198.51.100.7:1025 -> {server} --in eth0");
    let mut last = serde_json::Value::Null;
    wait_until("the rate guard has nothing left", LIMIT, || {
        site.client.run(|| {
            for _ in 0..20 {
                let socket = udp::Socket::open(server, Duration::from_millis(20));
                let _ = socket.and_then(|socket| socket.send(100));
            }
        });
        last = json(&forwarder, &packet).0;
        last["reason"] == "drop-rate"
    })
    .unwrap_or_else(|error| panic!("{error}\n{last:#}\n{}", forwarder.diagnosis()));
    let step = &last["next"][0];
    assert!(
        step["text"]
            .as_str()
            .is_some_and(|text| text.contains("slow lets 1 new flows a second in")),
        "{step}"
    );
    assert_eq!(step["command"], "forwarder reload");
}
