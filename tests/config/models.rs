//! What good files mean.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use forwarder::config::model::{
    Action, Backend, BackendState, Model, Probe, ServicePort, Snat, StatusRange,
};
use forwarder::config::{self, Code};
use forwarder_common::limits;

fn example(name: &str, node: Option<&str>) -> Model {
    let path = super::root().join("examples").join(name);
    config::check(&path, node).unwrap_or_else(|errors| panic!("{errors}"))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_nodes_of_a_pair_see_their_own_values() {
    let (one, two) = (
        example("pair.toml", Some("lb1")),
        example("pair.toml", Some("lb2")),
    );
    let node = |model: &Model| model.node.clone().expect("a node");
    assert_eq!((node(&one).name.as_str(), node(&one).index), ("lb1", 0));
    assert_eq!((node(&two).name.as_str(), node(&two).index), ("lb2", 1));
    assert_eq!(node(&one).peer.as_deref(), Some("lb2"));
    assert_eq!(node(&two).peer.as_deref(), Some("lb1"));
    assert_eq!(one.interfaces[0].device, "eth0");
    assert_eq!(two.interfaces[0].device, "ens5");
    assert_eq!(one.virtual_servers[1].address, address("10.0.0.102"));
    assert_eq!(two.virtual_servers[1].address, address("10.0.4.102"));
    assert_eq!(
        one.hash_key,
        Some([0x7d1f_0c9a_4be2_5638, 0x81f6_a05b_3ce9_4d27])
    );
    assert_eq!(one.hash_key, two.hash_key);
    assert_eq!(one.pools, two.pools);
    assert_eq!(one.limits.flows, 2_000_000);
}

#[test]
fn the_nodes_of_a_pair_share_ports() {
    let (one, two) = (
        example("pair.toml", Some("lb1")),
        example("pair.toml", Some("lb2")),
    );
    for (one, two) in [
        (one.snat_pools[0].ports, two.snat_pools[0].ports),
        (one.automap_ports, two.automap_ports),
    ] {
        assert_eq!(one.all, two.all);
        assert_eq!(one.own.low, one.all.low);
        assert_eq!(two.own.high, two.all.high);
        assert_eq!(one.own.high.get() + 1, two.own.low.get());
    }
    assert_eq!(one.automap_ports.own.to_string(), "16384-24575");
    // A single node takes them all.
    let single = example("several-virtual-servers-two-interfaces.toml", None);
    assert_eq!(single.automap_ports.own, single.automap_ports.all);
}

#[test]
fn a_pair_must_be_told_which_node_it_is() {
    let path = super::root().join("examples/pair.toml");
    for (node, code) in [(None, Code::NodeRequired), (Some("lb3"), Code::UnknownNode)] {
        let errors = config::check(&path, node).expect_err("which node?");
        assert_eq!(errors.diagnostics()[0].code, code);
        assert!(errors.to_string().contains("lb1 or lb2"), "{errors}");
    }
    // A file without nodes suits any.
    let alone = example("tunnels-over-ipv6.toml", Some("whoever"));
    assert_eq!(alone.node, None);
}

#[test]
fn sections_mean_what_they_say() {
    let model = example("several-virtual-servers-two-interfaces.toml", None);
    let [one, two, syslog, page] = model.virtual_servers.as_slice() else {
        panic!("{} virtual servers", model.virtual_servers.len())
    };
    let full_nat = |pool: &str, snat| Action::FullNat {
        pool: pool.to_owned(),
        snat,
    };
    assert_eq!(one.action, full_nat("application-1", Snat::Automap));
    assert_eq!(
        two.action,
        full_nat("application-2", Snat::Pool("translated".to_owned()))
    );
    assert_eq!(two.new_flows_per_second, Some(20_000));
    assert_eq!(
        syslog.action,
        Action::Dnat {
            pool: "syslog".to_owned()
        }
    );
    assert_eq!((syslog.allow.len(), syslog.deny.len()), (2, 1));
    assert_eq!(page.action, Action::Local);
    assert_eq!(one.port.to_string(), "443");

    let pool = model.pool("application-1").expect("a pool");
    let backend = &pool.backends[0];
    assert_eq!(backend.name, "app1-a");
    assert_eq!(backend.port.map(u16::from), Some(8443));
    // Found by its subnet, and checked on the health check's own port.
    assert_eq!(backend.interface.as_deref(), Some("inside"));
    let port = |backend: &Backend| backend.check.as_ref()?.port.map(u16::from);
    assert_eq!(port(backend), Some(8081));
    assert_eq!(pool.backends[2].state, BackendState::Drained);
    let other = model.pool("application-2").expect("a pool");
    assert_eq!(other.backends[0].name, "10.0.2.31");
    // Neither the backend nor its check has a port: the virtual server's.
    assert_eq!(port(&other.backends[0]), Some(443));

    let check = model.health_check("http").expect("a check");
    assert_eq!(check.interval, Duration::from_secs(2));
    let Probe::Http(request) = &check.probe else {
        panic!("{check:?}")
    };
    assert_eq!(
        (request.path.as_str(), request.host.as_deref()),
        ("/health", Some("app1.example.com"))
    );
    let good = [200, 204].map(|code| StatusRange {
        low: code,
        high: code,
    });
    assert_eq!(request.status, good);
    assert_eq!(model.egress[0].snat, Snat::Automap);
}

#[test]
fn every_port_and_every_interface() {
    let model = example("floating-ip-two-front-ends-one-port.toml", None);
    assert_eq!(model.virtual_servers[2].port, ServicePort::Any);
    assert_eq!(model.virtual_servers[0].interfaces, ["front"]);
    assert_eq!(
        model.virtual_servers[0].action.pool(),
        Some("virtual-machines")
    );
}

#[test]
fn defaults_are_those_of_the_maps() {
    let model = example("tunnels-over-ipv6.toml", None);
    assert_eq!(
        model.limits.virtual_servers as usize,
        limits::VIRTUAL_SERVERS
    );
    assert_eq!(model.limits.backends as usize, limits::BACKENDS);
    assert_eq!(model.limits.flows as usize, limits::FLOWS);
    // Each flow takes two entries.
    assert_eq!(model.limits.embryonic_flows as usize * 2, limits::EMBRYONIC);
    assert_eq!(model.limits.table_slots as usize, limits::SLOTS);
}

#[test]
fn a_model_is_printed_as_words_and_without_the_key() {
    let model = example("pair.toml", Some("lb1"));
    let json = serde_json::to_value(&model).expect("a value");
    assert_eq!(json["virtual_servers"][0]["mode"], "full-nat");
    assert_eq!(json["virtual_servers"][0]["port"], 80);
    assert_eq!(json["virtual_servers"][0]["affinity"], "5-tuple");
    assert_eq!(
        json["interfaces"][0]["addresses"][0]["subnet"],
        "198.51.100.0/24"
    );
    assert!(json.get("hash_key").is_none());
    let any = example("floating-ip-two-front-ends-one-port.toml", None);
    assert_eq!(
        serde_json::to_value(&any).expect("a value")["virtual_servers"][2]["port"],
        "any"
    );
}

#[test]
fn order_and_names_do_not_depend_on_the_run() {
    let first = example("pair.toml", Some("lb1"));
    for _ in 0..10 {
        assert_eq!(first, example("pair.toml", Some("lb1")));
    }
}

#[test]
fn checks_of_pools_and_of_backends() {
    let text = r#"
version = 1
interface = [{ name = "a", device = "eth0", address = "10.0.2.1/24" }]
virtual_server = [{ name = "v", address = "203.0.113.10", port = 80, mode = "dnat", pool = "p" }]

[[pool]]
name = "p"
health_check = "web"
slow_start = "30s"
backend = [
    { address = "10.0.2.11" },
    { address = "10.0.2.12", port = 81 },
    { address = "10.0.2.13", check_address = "10.0.9.13", check_port = 82 },
    { address = "10.0.2.14", health_check = "ping" },
    { address = "10.0.2.15", health_check = "udp" },
]

[[health_check]]
name = "web"
type = "https"
status = ["200-299", 304]
expect = "fine"
ca_file = "/etc/ssl/ca.pem"

[[health_check]]
name = "ping"
type = "icmp"

[[health_check]]
name = "udp"
type = "udp"
port = 53
send = "hex:00ff"
"#;
    let config = config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"));
    let model = config.for_node(None).expect("a model");
    let pool = model.pool("p").expect("the pool");
    assert_eq!(pool.slow_start, Some(Duration::from_secs(30)));
    let checks: Vec<_> = pool
        .backends
        .iter()
        .map(|backend| {
            let check = backend.check.as_ref().expect("a check");
            let port = check
                .port
                .map_or("none".to_owned(), |port| port.to_string());
            format!("{} {} {port}", check.health_check, check.address)
        })
        .collect();
    assert_eq!(
        checks,
        [
            "web 10.0.2.11 80",
            "web 10.0.2.12 81",
            "web 10.0.9.13 82",
            "ping 10.0.2.14 none",
            "udp 10.0.2.15 53"
        ]
    );
    let check = model.health_check("web").expect("a check");
    let Probe::Https { request, ca_file } = &check.probe else {
        panic!("{check:?}")
    };
    let good = |code| request.status.iter().any(|range| range.contains(code));
    assert!(good(200) && good(299) && good(304) && !good(300) && !good(199));
    assert_eq!(ca_file.as_deref(), Some(Path::new("/etc/ssl/ca.pem")));
    let check = model.health_check("udp").expect("a check");
    let Probe::Udp { send, expect: None } = &check.probe else {
        panic!("{check:?}")
    };
    assert_eq!(send.0, [0, 255]);
}

#[test]
fn payloads_fit_in_a_datagram() {
    let check = |send: &str| {
        let text = format!(
            "version = 1\n[[health_check]]\nname = \"a\"\ntype = \"udp\"\nsend = \"{send}\"\n"
        );
        match config::parse("f", &text) {
            Ok(config) => config.warnings.to_string(),
            Err(errors) => errors.to_string(),
        }
    };
    assert!(!check(&"x".repeat(1024)).contains("bad-payload"));
    assert!(check(&"x".repeat(1025)).contains("1025 bytes are too many"));
    assert!(check(&format!("hex:{}", "00".repeat(1025))).contains("too many"));
}
