//! Every kind of health check finds a backend down for its own reason, and up again.

use std::net::SocketAddr;

use forwarder_lab::certificate::Certificate;
use forwarder_lab::server::Server;
use forwarder_lab::tls::TlsServer;
use forwarder_lab::{Family, Forwarder, Site, wait_until};
use serde_json::Value;

use super::world::{LIMIT, binary, site};

const TCP: u16 = 9001;
const BODY: u16 = 9002;
const UDP: u16 = 9003;
const TLS: u16 = 9004;
const HOST: &str = "www.example.com";

/// Name, keys of the check, keys of the backend.
fn checks(authorities: &str) -> Vec<(&'static str, String, String)> {
    let (v4, v6) = (Family::V4.backend(0), Family::V6.backend(0));
    let to = |port| format!("address = \"{v4}\", check_port = {port}");
    vec![
        ("tcp", "type = \"tcp\"".to_owned(), to(TCP)),
        (
            "status",
            "type = \"http\"\npath = \"/health\"\nstatus = [\"200-299\"]".to_owned(),
            to(80),
        ),
        (
            "body",
            "type = \"http\"\nexpect = \"b1 saw\"".to_owned(),
            // Through another address of the same backend.
            format!("{}, check_address = \"{v6}\"", to(BODY)),
        ),
        (
            "udp",
            "type = \"udp\"\nsend = \"hex:70696e67\"\nexpect = \"b1 \"".to_owned(),
            to(UDP),
        ),
        ("udp-quiet", "type = \"udp\"".to_owned(), to(UDP)),
        (
            "tls",
            format!(
                "type = \"https\"\nhost = \"{HOST}\"\nexpect = \"ok\"\nca_file = \"{authorities}\""
            ),
            to(TLS),
        ),
        ("tls-any", "type = \"https\"".to_owned(), to(TLS)),
        (
            "icmp4",
            "type = \"icmp\"".to_owned(),
            format!("address = \"{v4}\""),
        ),
        (
            "icmp6",
            "type = \"icmp\"".to_owned(),
            format!("address = \"{v6}\""),
        ),
    ]
}

fn config(authorities: &str) -> String {
    let mut config = "version = 1\n\
        interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n"
        .to_owned();
    for (number, (name, check, backend)) in (1..).zip(checks(authorities)) {
        let family = if name == "icmp6" {
            Family::V6
        } else {
            Family::V4
        };
        let vip = family.vip(10);
        config += &format!(
            "[[health_check]]\nname = \"{name}\"\n{check}\ninterval = \"200ms\"\ntimeout = \"5s\"\nrise = 2\nfall = 2\n\
             [[virtual_server]]\nname = \"{name}\"\naddress = \"{vip}\"\nport = {number}\nmode = \"dnat\"\npool = \"{name}\"\n\
             [[pool]]\nname = \"{name}\"\nslow_start = \"1h\"\nbackend = [{{ name = \"b1\", health_check = \"{name}\", {backend} }}]\n",
        );
    }
    config
}

struct World {
    forwarder: Forwarder,
    tcp: Option<Server>,
    body: Option<Server>,
    udp: Option<Server>,
    tls: Option<TlsServer>,
    site: Site,
}

impl World {
    /// A server on the first backend, for one port.
    fn server(&self, name: &str, tcp: Option<u16>, udp: Option<u16>) -> Option<Server> {
        server(&self.site, name, tcp, udp)
    }

    /// What is known of the only backend of a pool.
    fn backend(&self, pool: &str) -> Value {
        let status = self.forwarder.status().expect("status");
        let pools = status["pools"].as_array().expect("pools");
        let found = pools.iter().find(|each| each["name"] == pool);
        found.expect("the pool")["backends"][0].clone()
    }

    fn wait(&self, pool: &str, what: &str, state: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_until(what, LIMIT, || {
            last = self.backend(pool);
            state(&last)
        })
        .unwrap_or_else(|error| panic!("{error} {pool}: {last:#}\n{}", self.forwarder.log()));
        last
    }

    fn wait_up(&self, pool: &str) -> Value {
        self.wait(pool, "up", |backend| backend["health"] == "up")
    }

    /// Down, for this reason, counted under this result.
    fn wait_down(&self, pool: &str, reason: &str, result: &str) {
        self.wait(pool, "down for its reason", |backend| {
            backend["health"] == "down"
                && backend["health_error"]
                    .as_str()
                    .is_some_and(|error| error.contains(reason))
                && backend["health_check"]["results"][result].as_u64() >= Some(1)
        });
    }
}

fn server(site: &Site, name: &str, tcp: Option<u16>, udp: Option<u16>) -> Option<Server> {
    let address = |port| SocketAddr::new(Family::V4.backend(0), port);
    let any = |port| SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
    let (tcp, udp): (Vec<_>, Vec<_>) = (
        tcp.map(any).into_iter().collect(),
        udp.map(address).into_iter().collect(),
    );
    // Its predecessor's connections may still be about to end.
    let mut started = None;
    wait_until("the port is free", LIMIT, || {
        started = Server::start(&site.backends[0], name, &tcp, &udp).ok();
        started.is_some()
    })
    .expect("a server");
    started
}

fn tls_server(site: &Site, certificate: &Certificate) -> Option<TlsServer> {
    let address = SocketAddr::new(Family::V4.backend(0), TLS);
    let mut started = None;
    wait_until("the port is free", LIMIT, || {
        started = TlsServer::start(&site.backends[0], address, certificate).ok();
        started.is_some()
    })
    .expect("a TLS server");
    started
}

fn start() -> (World, Certificate) {
    let site = site();
    let good = Certificate::new(HOST, 49).expect("a certificate");
    let authorities = site.directory().join("authorities.pem");
    std::fs::write(&authorities, good.pem()).expect("write");
    let (tcp, body) = (
        server(&site, "b1", Some(TCP), None),
        server(&site, "b1", Some(BODY), None),
    );
    let (udp, tls) = (
        server(&site, "b1", None, Some(UDP)),
        tls_server(&site, &good),
    );
    let config = config(&authorities.display().to_string());
    let forwarder = Forwarder::start(binary(), &site.forwarder, site.directory(), &config)
        .unwrap_or_else(|error| panic!("{error:#}\nwith this configuration:\n{config}"));
    let world = World {
        forwarder,
        tcp,
        body,
        udp,
        tls,
        site,
    };
    (world, good)
}

#[test]
fn each_check_goes_down_for_its_reason_and_up_again() {
    let (mut world, good) = start();
    let pools: Vec<_> = checks("").into_iter().map(|(name, ..)| name).collect();
    for pool in &pools {
        let backend = world.wait_up(pool);
        let check = &backend["health_check"];
        let reason = check["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("answered"), "{backend:#}");
        assert!(check["last_duration_microseconds"].as_u64() > Some(0));
    }

    // The application fails, the host lives.
    world.tcp = None;
    world.site.server(0).expect("its server").set_health(503);
    world.body = None;
    world.body = world.server("maintenance", Some(BODY), None);
    world.udp = None;
    world.tls = None;
    let expired = Certificate::new(HOST, 21).expect("a certificate");
    world.tls = tls_server(&world.site, &expired);
    world.wait_down("tcp", "connection failed: Connection refused", "refused");
    world.wait_down("status", "HTTP status 503", "status");
    let lacks = "the answer lacks \"b1 saw\": it begins with \"maintenance saw";
    world.wait_down("body", lacks, "content");
    world.wait_down("udp", "refused", "refused");
    world.wait_down("udp-quiet", "refused", "refused");
    world.wait_down("tls", "no TLS session: invalid peer certificate", "tls");
    for pool in ["tls-any", "icmp4", "icmp6"] {
        world.wait_up(pool);
    }
    let other = Certificate::new("other.example", 49).expect("a certificate");
    world.tls = None;
    world.tls = tls_server(&world.site, &other);
    world.wait_down("tls", "invalid peer certificate", "tls");
    world.tls = None;
    world.wait_down("tls-any", "Connection refused", "refused");

    // It comes back, each with a part of its share at first.
    world.tcp = world.server("b1", Some(TCP), None);
    world.site.server(0).expect("its server").set_health(204);
    world.body = None;
    world.body = world.server("b1", Some(BODY), None);
    world.udp = world.server("b1", None, Some(UDP));
    world.tls = tls_server(&world.site, &good);
    for pool in &pools {
        let backend = world.wait_up(pool);
        let check = &backend["health_check"];
        if !pool.starts_with("icmp") {
            assert_eq!(check["reason"], "answered 2 times in a row", "{backend:#}");
            assert_eq!(check["share_percent"], 10, "{backend:#}");
        }
    }

    // The host is gone.
    world.site.connect(0, false).expect("unplug");
    for pool in &pools {
        // A datagram into the void is not refused: only an answer would tell.
        if *pool != "udp-quiet" {
            world.wait(pool, "down", |backend| backend["health"] == "down");
        }
    }
    world.site.connect(0, true).expect("plug");
    for pool in &pools {
        world.wait_up(pool);
    }
    let history = world.forwarder.run(&["history", "--kind", "health"]);
    let history = String::from_utf8(history.expect("history").stdout).expect("text");
    for line in [
        "up -> down: HTTP status 503",
        "up -> down: the answer lacks",
        "up -> down: no TLS session",
        "down -> up: answered 2 times in a row",
    ] {
        assert!(history.contains(line), "no {line} in\n{history}");
    }
    let status = world.forwarder.run(&["status"]).expect("status").stdout;
    let status = String::from_utf8(status).expect("text");
    assert!(status.contains("slow start 10 %"), "{status}");
}

#[test]
fn a_file_that_a_check_names_must_be_good() {
    let (world, _) = start();
    let file = world.forwarder.config().to_owned();
    let text = std::fs::read_to_string(&file).expect("read");
    for (authorities, why) in [
        ("/nowhere/authorities.pem", "No such file"),
        ("/proc/self/environ", "no certificate in it"),
    ] {
        let wrong = world.site.directory().join("wrong.toml");
        let good = world.site.directory().join("authorities.pem");
        let text = text.replace(&good.display().to_string(), authorities);
        std::fs::write(&wrong, text).expect("write");
        let said = world
            .forwarder
            .run(&["reload", &wrong.display().to_string()])
            .expect("reload");
        assert_eq!(said.status.code(), Some(1));
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("ca_file") && said.contains(why), "{said}");
    }
    world.wait_up("tls");
}

/// Each time that it goes down it is held down for longer, though it answers, and comes back then.
#[test]
fn a_backend_that_flaps_is_held_down() {
    let site = site();
    let config = |interval: &str| {
        format!(
            "version = 1\n\
             interface = [{{ name = \"outside\", device = \"eth0\" }}, {{ name = \"inside\", device = \"eth1\" }}]\n\
             [[health_check]]\nname = \"http\"\ntype = \"http\"\npath = \"/health\"\ninterval = \"{interval}\"\n\
             timeout = \"1s\"\nrise = 1\nfall = 1\nmax_hold = \"10m\"\n\
             [[virtual_server]]\nname = \"web\"\naddress = \"{}\"\nport = 80\nmode = \"dnat\"\npool = \"web\"\n\
             [[pool]]\nname = \"web\"\nhealth_check = \"http\"\nbackend = [{{ name = \"b1\", address = \"{}\" }}]\n",
            Family::V4.vip(10),
            Family::V4.backend(0)
        )
    };
    let quick = config("200ms");
    let forwarder = Forwarder::start(binary(), &site.forwarder, site.directory(), &quick);
    let world = World {
        forwarder: forwarder.expect("it starts"),
        tcp: None,
        body: None,
        udp: None,
        tls: None,
        site,
    };
    let answers = |status| world.site.server(0).expect("its server").set_health(status);
    let flaps = |backend: &Value| backend["health_check"]["flaps"].as_u64();
    world.wait_up("web");
    for flap in 1..=3 {
        answers(503);
        world.wait("web", "down once more", |backend| {
            backend["health"] == "down" && flaps(backend) == Some(flap)
        });
        answers(200);
        world.wait_up("web");
    }

    // The next hold is eight intervals: long enough to be seen.
    std::fs::write(world.forwarder.config(), config("3s")).expect("write");
    let reload = world.forwarder.run(&["reload"]).expect("reload");
    assert!(reload.status.success(), "{reload:?}");
    answers(503);
    let down = world.wait("web", "down, and held", |backend| {
        let held = &backend["health_check"]["held_seconds"];
        backend["health"] == "down" && flaps(backend) == Some(4) && held.is_u64()
    });
    let passed = |backend: &Value| backend["health_check"]["results"]["passed"].as_u64();
    answers(200);
    world.wait("web", "answering, and held all the same", |backend| {
        let held = &backend["health_check"]["held_seconds"];
        backend["health"] == "down" && held.is_u64() && passed(backend) > passed(&down)
    });
    world.wait("web", "up when the hold is over", |backend| {
        backend["health"] == "up" && backend["health_check"]["held_seconds"].is_null()
    });
}
