//! Setups as people have them, from end to end: each has an example file and a row in `docs/stories.md`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::cloud::{Cloud, eni};
use forwarder_lab::nodes::{DEVICES, NODES};
use forwarder_lab::pinned::NAT;
use forwarder_lab::server::Server;
use forwarder_lab::site::{BACKENDS, ECHO, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Forwarder, Namespace, Nodes, Site, wait_until};
use serde_json::Value;

use super::host::{LIMIT, binary};

/// For an answer that is asked for again if there is none.
const ANSWER: Duration = Duration::from_secs(3);

fn v4(number: u8) -> SocketAddr {
    SocketAddr::new(Family::V4.vip(number), HTTP)
}

/// Waits until a server answers: who did, and whom it saw as the client.
fn answer(
    client: &Namespace,
    server: SocketAddr,
    forwarder: &Forwarder,
) -> forwarder_lab::client::Answer {
    let mut answer = None;
    wait_until("an answer", LIMIT, || {
        answer = client.run(|| http::get(server, "/", ANSWER)).ok();
        answer.is_some()
    })
    .unwrap_or_else(|error| panic!("{server}: {error:#}\n{}", forwarder.diagnosis()));
    answer.expect("it was waited for")
}

/// `examples/several-virtual-servers-two-interfaces.toml`: with automap, with a SNAT pool, and without either.
#[test]
fn three_virtual_servers_over_two_interfaces() {
    let site = Site::new(&[], &[]).expect("the site");
    let (automap, translated, kept) = (v4(10), v4(11), v4(12));
    let snat = Family::V4.backend(90);
    let server = |name: &str, address: SocketAddr, mode: &str| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{}\"\nport = {HTTP}\npool = \"{name}\"\n\
             interfaces = [\"outside\"]\n{mode}\n\
             [[pool]]\nname = \"{name}\"\nhealth_check = \"accepts\"\nbackend = [\
             {{ address = \"{}\", port = {HTTP_REWRITTEN} }}, {{ address = \"{}\", port = {HTTP_REWRITTEN} }}]\n",
            address.ip(),
            Family::V4.backend(0),
            Family::V4.backend(1),
        )
    };
    let config = format!(
        "version = 1\nlimits = {{ flows = 100000 }}\n\
         [[interface]]\nname = \"outside\"\ndevice = \"eth0\"\naddress = \"{}\"\ngateway = \"{}\"\n\
         [[interface]]\nname = \"inside\"\ndevice = \"eth1\"\naddress = \"{}\"\n\
         [[health_check]]\nname = \"accepts\"\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"5s\"\n\
         [[snat_pool]]\nname = \"translated\"\naddresses = [\"{snat}\"]\ninterface = \"inside\"\n{}{}{}",
        Family::V4.in_subnet(Family::V4.outside()),
        Family::V4.router(),
        Family::V4.in_subnet(Family::V4.inside()),
        server("one", automap, "mode = \"full-nat\"\nsnat = \"automap\""),
        server(
            "two",
            translated,
            "mode = \"full-nat\"\nsnat = \"translated\""
        ),
        server("three", kept, "mode = \"dnat\""),
    );
    let forwarder = Forwarder::start(binary(), &site.forwarder, site.directory(), &config)
        .unwrap_or_else(|error| panic!("{error:#}\n{config}"));
    for (server, seen) in [
        (automap, Family::V4.inside()),
        (translated, snat),
        (kept, Family::V4.client()),
    ] {
        let answer = answer(&site.client, server, &forwarder);
        assert_eq!(answer.client.ip(), seen, "{server}: {answer:?}");
        assert!(
            BACKENDS[..2].contains(&answer.backend.as_str()),
            "{answer:?}"
        );
    }
}

/// `examples/two-interfaces-one-subnet.toml`: VIPs, backends and sources of one subnet, each by its own interface.
#[test]
fn two_interfaces_in_one_subnet() {
    let site = Site::new(&[], &[]).expect("the site");
    let second = Family::V4.vip(3);
    site.plug(
        &site.forwarder,
        "eth2",
        site.outside,
        &[Family::V4.in_subnet(second)],
    )
    .expect("plug");
    // Backends in that subnet too.
    let mut servers = Vec::new();
    for (name, number) in [("shop", 31), ("feed", 41)] {
        let host = site.lab().host(name).expect("a host");
        let address = Family::V4.vip(number);
        site.plug(
            &host,
            "eth0",
            site.outside,
            &[Family::V4.in_subnet(address)],
        )
        .expect("plug");
        let listen = [SocketAddr::new(address, HTTP)];
        let server = Server::start(&host, name, &listen, &[]).expect("a server");
        servers.push((server, host));
    }
    let part = |name: &str, interface: &str, vip: u8, backend: u8| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{}\"\nport = {HTTP}\nmode = \"full-nat\"\n\
             snat = \"automap\"\npool = \"{name}\"\ninterfaces = [\"{interface}\"]\n\
             [[pool]]\nname = \"{name}\"\nhealth_check = \"accepts\"\n\
             backend = [{{ address = \"{}\", interface = \"{interface}\" }}]\n",
            Family::V4.vip(vip),
            Family::V4.vip(backend),
        )
    };
    let config = format!(
        "version = 1\nlimits = {{ flows = 100000 }}\n\
         [[interface]]\nname = \"public\"\ndevice = \"eth0\"\naddress = \"{}\"\ngateway = \"{gateway}\"\n\
         [[interface]]\nname = \"partner\"\ndevice = \"eth2\"\naddress = \"{}\"\ngateway = \"{gateway}\"\n\
         [[health_check]]\nname = \"accepts\"\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"5s\"\n{}{}",
        Family::V4.in_subnet(Family::V4.outside()),
        Family::V4.in_subnet(second),
        part("shop", "public", 100, 31),
        part("feed", "partner", 200, 41),
        gateway = Family::V4.router(),
    );
    let forwarder = Forwarder::start(binary(), &site.forwarder, site.directory(), &config)
        .unwrap_or_else(|error| panic!("{error:#}\n{config}"));
    for (name, vip, device, source) in [
        ("shop", 100, "eth0", Family::V4.outside()),
        ("feed", 200, "eth2", second),
    ] {
        let answer = answer(&site.client, v4(vip), &forwarder);
        // The backend was reached by the interface that the flow came in by, from its address.
        assert_eq!(
            (answer.backend.as_str(), answer.client.ip()),
            (name, source)
        );
        // Nobody else answers for the VIP.
        let mac = site.router.neighbour("outside", v4(vip).ip()).expect("ip");
        let own = site.forwarder.mac(device).expect("MAC");
        assert_eq!(mac.as_deref(), Some(own.as_str()), "{name}");
    }
}

/// Bytes of a packet within a Wavelength Zone.
const ZONE: u32 = 1300;
/// Bytes of a datagram in the largest of them.
const LARGEST: usize = ZONE as usize - 28;
/// More than a path that loses large packets lets through.
const LENGTH: u64 = 100_000;

/// `examples/wavelength.toml`: one subnet, the VIP moves by one call and the carrier IP address goes along; a
/// session by UDP stays, and TCP fits in the zone's packets.
#[test]
fn a_wavelength_zone() {
    let mut nodes = Nodes::new(binary()).expect("the nodes");
    let mut cloud = Cloud::start(&nodes).expect("the cloud");
    let vip = Family::V4.vip(NAT);
    let carrier = IpAddr::from([198, 51, 100, 200]);
    cloud
        .elastic_ip(&nodes, carrier, ("use", "game"), vip)
        .expect("a carrier IP address");
    cloud.at_carrier("eipalloc-1");
    for node in 0..2 {
        let host = nodes.host(node);
        host.ip(&format!("link set eth1 mtu {ZONE}"))
            .expect("an MTU");
    }
    let config = nodes.config(Duration::from_millis(500), 3);
    let config = config.replacen(
        "version = 1\n",
        &format!("version = 1\n{}", cloud.config()),
        1,
    ) + &format!(
        "[[virtual_server]]\nname = \"lobby\"\naddress = \"{vip}\"\nport = {HTTP_REWRITTEN}\n\
             mode = \"full-nat\"\nsnat = \"automap\"\npool = \"ipv4\"\nmss_clamp = {}\n",
        ZONE - 40
    );
    nodes
        .start_both(&config)
        .unwrap_or_else(|error| panic!("{error:#}"));

    // A device of the carrier plays a game.
    let client = &nodes.site.client;
    let game = SocketAddr::new(carrier, ECHO);
    let mut session = client
        .run(|| udp::Socket::open(game, LIMIT))
        .expect("a socket");
    let before = session.request(100).expect("an answer");
    let port = before.client.port().to_string();
    let fits = |server: SocketAddr| {
        let transfer = || {
            let mut connection = http::Connection::open(server, ANSWER)?;
            connection.download(LENGTH)?;
            connection.upload(LENGTH)
        };
        client.run(transfer).is_ok()
    };
    let (lobby, unclamped) = (
        SocketAddr::new(vip, HTTP_REWRITTEN),
        SocketAddr::new(vip, HTTP),
    );
    assert!(fits(lobby), "{}", nodes.diagnosis());
    // Devices come by the carrier IP address.
    let door = SocketAddr::new(carrier, HTTP_REWRITTEN);
    assert!(fits(door), "{}", nodes.diagnosis());
    let large = session.request(LARGEST).expect("the largest datagram");
    assert_eq!(large.client, before.client);
    assert!(
        !fits(unclamped),
        "packets of 1500 bytes must not fit in the zone"
    );

    // The standby knows the session when the active node dies.
    let address = before.client.ip().to_string();
    wait_until("the standby knows the session", LIMIT, || {
        // What is only one question and one answer is not told.
        let again = nodes
            .site
            .client
            .run(|| session.request(101))
            .expect("an answer");
        assert_eq!(again.client, before.client);
        let words = [
            "flow",
            "--address",
            &address,
            "--port",
            &port,
            "--count",
            "-o",
            "json",
        ];
        let output = nodes.running(1).and_then(|node| node.run(&words));
        let output = output.map(|output| output.stdout).unwrap_or_default();
        let flows: Value = serde_json::from_slice(&output).unwrap_or_default();
        flows["count"].as_u64().is_some_and(|count| count > 0)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", nodes.diagnosis()));
    let ends: Vec<_> = DEVICES
        .iter()
        .map(|device| (nodes.host(0), *device))
        .collect();
    nodes.site.cut(&ends, true).expect("cut");
    nodes.kill(0);
    wait_until("the second node has everything", LIMIT, || {
        cloud.owner() == Some(1) && nodes.pair(1)["role"] == "active"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", nodes.diagnosis()));

    let after = session.request(200).expect("an answer");
    assert_eq!(
        (after.backend, after.client),
        (before.backend, before.client),
        "the server sees the same session, now from {}",
        NODES[1]
    );
    let large = session.request(LARGEST - 1).expect("a large datagram");
    assert_eq!(large.client, before.client);
    let client = &nodes.site.client;
    wait_until("the lobby answers, by either address", LIMIT, || {
        [lobby, door].iter().all(|server| {
            let transfer = || http::Connection::open(*server, ANSWER)?.download(LENGTH);
            client.run(transfer).is_ok()
        })
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", nodes.diagnosis()));
    // By the address' own call, and none for the carrier IP address.
    let at = cloud.state().things.allocations["eipalloc-1"].at.clone();
    assert_eq!(at, Some((eni(1, 0), vip)));
    let called = cloud.called();
    assert!(
        called.iter().all(|call| call.action != "AssociateAddress"),
        "{called:?}"
    );
}
