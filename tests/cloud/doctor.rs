//! `doctor` on hosts that are as they should be, and on hosts where something really is not.

use std::path::PathBuf;

use forwarder_lab::{Forwarder, Namespace, Site, decapsulate, wait_until};
use serde_json::Value;

use super::host::{LIMIT, binary, findings, forwarder, said};

pub const GOOD: &str = r#"
version = 1
limits = { flows = 100000 }
egress = [{ source = "192.0.2.0/24", interface = "outside" }]

[[interface]]
name = "outside"
device = "eth0"
address = ["203.0.113.2/24", "2001:db8:113::2/64"]
gateway = ["203.0.113.1", "2001:db8:113::1"]

[[interface]]
name = "inside"
device = "eth1"
address = ["192.0.2.2/24", "2001:db8:2::2/64"]

[[virtual_server]]
name = "web"
address = "203.0.113.10"
port = 80
mode = "full-nat"
pool = "web"
snat = "automap"

[[pool]]
name = "web"
backend = [{ address = "192.0.2.11" }, { address = "192.0.2.12" }]
"#;

/// More interfaces, one of which is not there, and a backend that nobody is.
const WRONG: &str = r#"
[[interface]]
name = "second"
device = "eth2"
address = "203.0.113.3/24"
gateway = "203.0.113.1"

[[interface]]
name = "third"
device = "eth3"

[[interface]]
name = "bridge"
device = "br9"
address = "192.168.77.1/24"
allow_generic = true

[[interface]]
name = "missing"
device = "eth9"

[[virtual_server]]
name = "lost"
address = "203.0.113.11"
port = 80
mode = "full-nat"
pool = "lost"
snat = "automap"

[[pool]]
name = "lost"
backend = [{ address = "192.0.2.99" }]
"#;

pub fn site() -> Site {
    let site = Site::new(&[], &[]).expect("build the site");
    site.forwarder
        .sysctl(&[("net/ipv4/conf/eth1/forwarding", "1")])
        .expect("sysctl");
    site
}

pub fn write(site: &Site, text: &str) -> PathBuf {
    let file = site.directory().join("doctor.toml");
    std::fs::write(&file, text).expect("write");
    file
}

/// What is wrong beside what this machine's kernel, clock and mounts are like, as `code subject`, in order.
fn wrong(host: &Namespace, words: &[&str]) -> Vec<String> {
    let all = all(host, words).into_iter();
    let all = all.filter(|each| each["severity"] == "error" || each["severity"] == "warning");
    let all = all.filter(|each| each["subject"] != "host" || each["code"] == "local-ports");
    let text = |each: &Value, key: &str| each[key].as_str().expect("text").to_owned();
    let mut all: Vec<_> = all
        .map(|each| format!("{} {}", text(&each, "code"), text(&each, "subject")))
        .collect();
    all.sort();
    all
}

/// Waits until this is wrong and nothing else: links come up and neighbours answer when they can.
fn wait_for(host: &Namespace, words: &[&str], expected: &[&str]) {
    let mut found = Vec::new();
    wait_until("these findings", LIMIT, || {
        found = wrong(host, words);
        found == expected
    })
    .unwrap_or_else(|error| panic!("{error:#}: {found:?} in place of {expected:?}"));
}

fn all(host: &Namespace, words: &[&str]) -> Vec<Value> {
    let output = forwarder(host, &[&["doctor", "--json"], words].concat());
    let all: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    all.as_array().expect("a list").clone()
}

fn programs(host: &Namespace) -> Vec<Value> {
    let links = host.show(&["link", "show"]).expect("links");
    let links = links.as_array().expect("a list").iter();
    links.map(|link| link["xdp"]["prog"].clone()).collect()
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    let site = site();
    let path = write(&site, GOOD);
    let file = path.to_str().expect("UTF-8");
    let host = &site.forwarder;
    wait_for(host, &[file], &[]);
    let found = all(host, &[file]);
    let says = |code: &str, text: &str| {
        let mut found = found.iter().filter(|each| each["code"] == code);
        assert!(
            found.any(|each| each["message"]
                .as_str()
                .is_some_and(|message| message.contains(text))),
            "no {code} with {text:?} in {found:?}"
        );
    };
    says("driver", "veth");
    says("xdp", "the driver has native XDP");
    says("next-hop", "192.0.2.11 answers");
    says("kernel", "Linux 6.");
    says("local-ports", "16384-32767");
    says("channels", "CPUs receive");
    assert_eq!(
        programs(host),
        [Value::Null, Value::Null, Value::Null],
        "nothing is attached"
    );

    // Without a file the same is said of every interface with an address.
    assert_eq!(wrong(host, &[]), [""; 0]);
    let text = said(&forwarder(host, &["doctor"]));
    assert!(
        text.contains("eth0\n") && text.contains("eth1\n") && !text.contains("lo\n"),
        "{text}"
    );

    // Beside a daemon it says what is attached, and changes nothing.
    let daemon = Forwarder::start(binary(), host, site.directory(), GOOD).expect("run");
    let attached = programs(host);
    wait_for(host, &[file, "--fix"], &[]);
    let text = said(&forwarder(host, &["doctor", file]));
    assert!(text.contains("the daemon's program is attached"), "{text}");
    assert_eq!(programs(host), attached, "{}", daemon.log());

    let bad = forwarder(host, &["doctor", "/dev/null"]);
    assert_eq!(bad.status.code(), Some(1), "{}", said(&bad));
}

#[test]
fn wrong_states_are_named_and_the_safe_ones_set_right() {
    let site = site();
    let host = &site.forwarder;
    site.plug(host, "eth2", site.outside, &["203.0.113.3/24".to_owned()])
        .expect("plug");
    site.plug(host, "eth3", site.outside, &[]).expect("plug");
    let _foreign = decapsulate(binary(), host, "eth3", site.directory()).expect("another program");
    host.ip("address add 203.0.113.10/32 dev eth0\n\
         address delete 2001:db8:2::2/64 dev eth1\n\
         link set eth2 down\n\
         link add br9 type bridge\n\
         link add port9 type veth peer name far9\n\
         link set port9 master br9 up\n\
         link set far9 up\n\
         link set br9 up\n\
         address add 192.168.77.1/24 dev br9")
        .expect("ip");
    host.sysctl(&[
        ("net/ipv4/conf/eth0/rp_filter", "1"),
        ("net/ipv4/conf/eth1/forwarding", "0"),
        ("net/ipv4/ip_local_port_range", "20000 60999"),
        ("net/ipv4/ip_local_reserved_ports", "8080"),
    ])
    .expect("sysctl");
    let path = write(&site, &format!("{GOOD}{WRONG}"));
    let file = path.to_str().expect("UTF-8");
    let expected = [
        "forwarding eth1",
        "gro br9",
        "link eth2",
        "link eth9",
        "local-ports host",
        "next-hop eth1",
        "own-address eth1",
        "policy-route eth2",
        "rp-filter eth0",
        "vip-on-host eth0",
        "xdp br9",
        "xdp eth3",
    ];
    // The bridge gets its carrier a little later.
    wait_for(host, &[file], &expected);
    let (_, code) = findings(host, &[file]);
    assert_eq!(code, Some(5));
    let text = said(&forwarder(host, &["doctor", file]));
    for part in [
        "eth3 already has an XDP program (\"decapsulate\"",
        "ip link set dev eth3 xdp off",
        "192.0.2.99 does not answer ARP",
        "ip address delete 203.0.113.10/32 dev eth0",
        "ip address add 2001:db8:2::2/64 dev eth1",
        "what the host itself sends from 203.0.113.3 leaves by eth0",
        "there is no such interface; the host has lo, eth0",
        "generic receive offload is on",
        "automap gives 16384-32767 away",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }

    // Neither what could cut somebody off, nor what is no setting of this host.
    let left = [
        "link eth9",
        "next-hop eth1",
        "own-address eth1",
        "policy-route eth2",
        "vip-on-host eth0",
        "xdp br9",
        "xdp eth3",
    ];
    wait_for(host, &[file, "--fix"], &left);
    let reserved =
        host.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports"));
    assert_eq!(reserved.expect("sysctl").trim(), "8080,16384-32767");

    // What is printed for people to decide about works as it is.
    let fixes = all(host, &[file]).into_iter().filter(|each| {
        ["policy-route", "own-address", "vip-on-host"]
            .iter()
            .any(|code| each["code"] == *code)
    });
    for fix in fixes.flat_map(|each| each["fix"].as_array().expect("a list").clone()) {
        let fix = fix.as_str().expect("text").to_owned();
        let output = host.command("sh").args(["-ec", &fix]).output().expect("sh");
        assert!(output.status.success(), "{fix}: {}", said(&output));
    }
    let left = ["link eth9", "next-hop eth1", "xdp br9", "xdp eth3"];
    wait_for(host, &[file], &left);
}
