//! `backend-setup` and `doctor --backend`, with real packets.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forwarder_lab::client::http;
use forwarder_lab::site::{BACKENDS, HTTP};
use forwarder_lab::{Family, Forwarder, Namespace, Site, decapsulate, wait_until};

use super::host::{LIMIT, binary, findings, forwarder, said};

const VIP: u8 = 10;

pub fn config(mode: &str, more: &str) -> String {
    let mut text = "version = 1\nlimits = { flows = 100000 }\n[[interface]]\nname = \"outside\"\ndevice = \"eth0\"\n\
                    [[interface]]\nname = \"inside\"\ndevice = \"eth1\"\naddress = [\"192.0.2.2/24\", \"2001:db8:2::2/64\"]\n"
        .to_owned();
    for family in Family::ALL {
        let backends: Vec<_> = (0..)
            .zip(BACKENDS)
            .map(|(index, name)| {
                format!(
                    "{{ name = \"{name}\", address = \"{}\" }}",
                    family.backend(index)
                )
            })
            .collect();
        text += &format!(
            "[[virtual_server]]\nname = \"web-{family}\"\nmode = \"{mode}\"\naddress = \"{}\"\nport = 80\n\
             pool = \"{family}\"\n{more}\n[[pool]]\nname = \"{family}\"\nbackend = [{}]\n",
            family.vip(VIP),
            backends.join(", ")
        );
    }
    text
}

/// A site whose backends know nothing of VIPs, as hosts come: they answer ARP for every address of theirs, and
/// their way to clients does not lead through the forwarder.
pub fn untouched() -> Site {
    let site = Site::new(&[], &[]).expect("build the site");
    for backend in &site.backends {
        backend
            .sysctl(&[
                ("net/ipv4/conf/all/arp_ignore", "0"),
                ("net/ipv4/conf/all/arp_announce", "0"),
            ])
            .expect("sysctl");
        backend
            .ip("route replace 0.0.0.0/0 via 192.0.2.1")
            .expect("route");
        backend
            .ip6("route replace ::/0 via 2001:db8:2::1")
            .expect("route");
    }
    site
}

pub fn write(site: &Site, name: &str, text: &str) -> PathBuf {
    let file = site.directory().join(name);
    std::fs::write(&file, text).expect("write");
    file
}

/// Everything that setting up may change.
fn state(host: &Namespace) -> String {
    let mut state = String::new();
    for words in [&["address", "show"][..], &["-4", "route"], &["-6", "route"]] {
        let mut shown = host.show(words).expect("ip");
        // Counters and lifetimes go on by themselves.
        forget(&mut shown);
        state += &format!("{shown}\n");
    }
    let settings = ["all", "eth0"].map(|device| {
        ["arp_ignore", "arp_announce", "rp_filter"]
            .map(|name| format!("/proc/sys/net/ipv4/conf/{device}/{name}"))
    });
    state
        + &host.run(|| {
            settings
                .as_flattened()
                .iter()
                .map(|path| std::fs::read_to_string(path).unwrap_or_default())
                .collect::<String>()
        })
}

fn forget(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for key in ["stats", "stats64", "expires"] {
                map.remove(key);
            }
            map.values_mut().for_each(forget);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(forget),
        _ => (),
    }
}

fn codes(host: &Namespace, file: &str) -> Vec<String> {
    let (found, _) = findings(host, &[file, "--backend"]);
    found.into_iter().map(|(code, _)| code).collect()
}

/// Waits until every backend answers at a VIP.
fn wait_for_all(site: &Site, daemon: &Forwarder, vip: IpAddr) {
    let server = SocketAddr::new(vip, HTTP);
    let mut seen = Vec::new();
    wait_until("every backend answers", LIMIT, || {
        if let Ok(answer) = site
            .client
            .run(|| http::get(server, "/", Duration::from_secs(3)))
        {
            seen.push(answer.backend);
            seen.sort();
            seen.dedup();
        }
        seen == BACKENDS
    })
    .unwrap_or_else(|error| panic!("{error:#}: only {seen:?} at {vip}\n{}", daemon.diagnosis()));
    // A whole segment and more, both ways.
    site.client.run(|| {
        let mut connection = http::Connection::open(server, LIMIT).expect("connect");
        connection.download(200_000).expect("download");
        connection.upload(200_000).expect("upload");
    });
}

fn start(site: &Site, file: &Path) -> Forwarder {
    let text = std::fs::read_to_string(file).expect("read");
    Forwarder::start(binary(), &site.forwarder, site.directory(), &text).expect("run")
}

#[test]
fn the_printed_script_makes_l2_dsr_work() {
    let site = untouched();
    let file = write(&site, "l2.toml", &config("l2-dsr", ""));
    let path = file.to_str().expect("UTF-8");
    let wrong = &site.backends[1];
    wrong
        .ip("address add 203.0.113.10/24 dev lo")
        .expect("as /24");
    wrong
        .ip("address add 2001:db8:113::10/64 dev lo nodad")
        .expect("as /64");
    wrong
        .sysctl(&[("net/ipv4/conf/eth0/rp_filter", "1")])
        .expect("sysctl");
    assert_eq!(
        codes(&site.backends[0], path),
        ["arp-ignore", "arp-announce", "vip", "vip"]
    );
    assert_eq!(
        codes(wrong, path),
        ["arp-ignore", "arp-announce", "vip", "rp-filter", "vip"]
    );
    let told = forwarder(wrong, &["doctor", path, "--backend"]);
    assert_eq!(told.status.code(), Some(5));
    for part in [
        "203.0.113.10 is on loopback as /24",
        "ip address replace 203.0.113.10/32 dev lo",
        "2001:db8:113::10 is on loopback as /64",
        "rp_filter of eth0 is 1",
        "arp_ignore of eth0 is 0",
    ] {
        assert!(
            said(&told).contains(part),
            "no {part:?} in:\n{}",
            said(&told)
        );
    }

    let printed = forwarder(&site.client, &["backend-setup", path]);
    assert!(printed.status.success(), "{}", said(&printed));
    let script = write(&site, "setup.sh", &said(&printed));
    let run = |host: &Namespace| {
        let output = host.command("sh").arg(&script).output().expect("sh");
        assert!(output.status.success(), "{}", said(&output));
    };
    for backend in &site.backends {
        run(backend);
        let (left, code) = findings(backend, &[path, "--backend"]);
        assert_eq!((left, code), (Vec::new(), Some(0)));
    }
    let daemon = start(&site, &file);
    for family in Family::ALL {
        wait_for_all(&site, &daemon, family.vip(VIP));
    }
    for backend in &site.backends {
        let before = state(backend);
        run(backend);
        assert_eq!(state(backend), before);
        let again = forwarder(backend, &["backend-setup", path, "--apply"]);
        assert!(again.status.success(), "{}", said(&again));
        assert!(
            said(&again)
                .lines()
                .all(|line| line.starts_with("as it was")),
            "{}",
            said(&again)
        );
        assert_eq!(state(backend), before);
    }
    // On a host that is no backend the script changes nothing, and --apply says so.
    let before = state(&site.router);
    run(&site.router);
    assert_eq!(state(&site.router), before);
    let other = forwarder(&site.router, &["backend-setup", path, "--apply"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        said(&other).contains("none of the backends"),
        "{}",
        said(&other)
    );
}

#[test]
fn what_apply_sets_makes_tunnels_work() {
    for mode in ["ipip-dsr", "gue-dsr"] {
        let site = untouched();
        let file = write(&site, "tunnel.toml", &config(mode, ""));
        let path = file.to_str().expect("UTF-8");
        for backend in &site.backends {
            assert_eq!(
                codes(backend, path),
                [
                    "arp-ignore",
                    "arp-announce",
                    "vip",
                    "tunnel-end",
                    "mss",
                    "vip",
                    "tunnel-end",
                    "mss"
                ]
            );
            let applied = forwarder(backend, &["backend-setup", path, "--apply"]);
            assert!(applied.status.success(), "{}", said(&applied));
            assert!(
                said(&applied).contains("TO DO      no tunnel ends on eth0"),
                "{}",
                said(&applied)
            );
            assert_eq!(codes(backend, path), ["tunnel-end", "tunnel-end"]);
        }
        let _ends: Vec<_> = site
            .backends
            .iter()
            .map(|backend| {
                decapsulate(binary(), backend, "eth0", site.directory()).expect("forwarder backend")
            })
            .collect();
        let daemon = start(&site, &file);
        for family in Family::ALL {
            wait_for_all(&site, &daemon, family.vip(VIP));
        }
        for backend in &site.backends {
            assert_eq!(codes(backend, path), [""; 0]);
            let before = state(backend);
            let again = forwarder(backend, &["backend-setup", path, "--apply"]);
            assert!(!said(&again).contains("set  "), "{}", said(&again));
            assert_eq!(state(backend), before);
        }
    }
}

/// A VIP that a backend answers ARP for: `--fix` does not take it off, the command that is printed does.
#[test]
fn a_vip_on_another_device_is_an_error_with_its_fix() {
    let site = untouched();
    let file = write(&site, "l2.toml", &config("l2-dsr", ""));
    let path = file.to_str().expect("UTF-8");
    let backend = &site.backends[0];
    let vips = ["203.0.113.10/32", "2001:db8:113::10/128"];
    for vip in vips {
        let flags = if vip.contains(':') { "nodad" } else { "" };
        backend
            .ip(&format!("address add {vip} dev eth0 {flags}"))
            .expect("a VIP");
    }
    let (left, code) = findings(backend, &[path, "--backend", "--fix"]);
    let wrong = ("vip".to_owned(), "error".to_owned());
    assert_eq!((left, code), (vec![wrong.clone(), wrong], Some(5)));
    let told = said(&forwarder(backend, &["doctor", path, "--backend"]));
    for vip in vips {
        let fix = format!("ip address delete {vip} dev eth0");
        assert!(told.contains(&fix), "no {fix} in:\n{told}");
        let output = backend.command("sh").args(["-ec", &fix]).output();
        assert!(output.expect("sh").status.success(), "{fix}");
    }
    assert_eq!(codes(backend, path), [""; 0]);
}

/// The printed scripts are as they should be, by eye; `BLESS=1` writes them anew.
#[test]
fn scripts_of_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (example, name, words) in [
        (
            "floating-ip-two-front-ends-one-port",
            "floating-ip.sh",
            &[][..],
        ),
        (
            "floating-ip-two-front-ends-one-port",
            "floating-ip.ps1",
            &["--windows"],
        ),
        (
            "tunnels-over-ipv6",
            "tunnels-over-ipv6.sh",
            &["--kernel-tunnels"],
        ),
        (
            "several-virtual-servers-two-interfaces",
            "one-of-several.sh",
            &["--backend", "10.0.2.41"],
        ),
        (
            "several-virtual-servers-two-interfaces",
            "one-of-several.ps1",
            &["--windows", "--backend", "10.0.2.41"],
        ),
    ] {
        let mut command = Command::new(binary());
        command.current_dir(&root).arg("backend-setup").args(words);
        let output = command
            .arg(format!("examples/{example}.toml"))
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{}", said(&output));
        let expected = root.join("tests/cloud/expected").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &output.stdout).expect("write");
        }
        assert_eq!(
            said(&output),
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{name}"
        );
    }
}

#[test]
fn nat_needs_little_and_doctor_says_what() {
    let mut site = untouched();
    let file = write(&site, "dnat.toml", &config("dnat", ""));
    let path = file.to_str().expect("UTF-8");
    let backend = &site.backends[0];
    assert_eq!(codes(backend, path), ["default-route", "default-route"]);
    let told = said(&forwarder(backend, &["doctor", path, "--backend"]));
    assert!(
        told.contains("the default route leads to 192.0.2.1"),
        "{told}"
    );
    assert!(
        told.contains("the default route leads to 192.0.2.2"),
        "{told}"
    );
    backend
        .ip("route replace 0.0.0.0/0 via 192.0.2.2")
        .expect("route");
    backend
        .ip6("route replace ::/0 via 2001:db8:2::2")
        .expect("route");
    assert_eq!(codes(backend, path), [""; 0]);

    let file = write(&site, "nat.toml", &config("full-nat", "snat = \"automap\""));
    let path = file.to_str().expect("UTF-8");
    assert_eq!(codes(&site.backends[1], path), [""; 0]);
    site.stop_server(1);
    wait_until("nothing listens", LIMIT, || {
        codes(&site.backends[1], path) == ["listener", "listener"]
    })
    .expect("both are missed");
}
