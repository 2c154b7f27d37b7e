//! Checks through tunnels: a backend is up only if it takes the tunnel off, has the VIP and serves there,
//! whatever its own address answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use forwarder_lab::certificate::Certificate;
use forwarder_lab::tls::TlsServer;
use forwarder_lab::{Family, Forwarder, Process, Site, has_xdp, wait_until};
use serde_json::Value;

use super::world::{VIP, binary, site};

/// Nothing here takes that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(120);
const TLS: u16 = 443;
/// The pool that is checked at the backend's own address.
const DIRECT: &str = "direct";
/// Pools that are checked at the second VIP, too.
const BOTH_VIPS: &str = "both-vips";

/// A pool for each: what is asked, and through what.
fn pools() -> Vec<(String, &'static str, Family, Family, &'static str)> {
    let http = "type = \"http\"\npath = \"/health\"\nport = 80\nexpect = \"\"";
    let mut pools = Vec::new();
    for (mode, word) in [("ipip-dsr", "ipip"), ("gue-dsr", "gue")] {
        for vip in Family::ALL {
            for backend in Family::ALL {
                let name = format!("{word}-{vip}-in-{backend}");
                pools.push((name, mode, vip, backend, http));
            }
        }
    }
    for family in Family::ALL {
        let more = [
            ("tcp", "type = \"tcp\"\nport = 80"),
            ("https", "type = \"https\""),
            (
                "udp",
                "type = \"udp\"\nport = 7\nsend = \"hex:70696e67\"\nexpect = \"b1 \"",
            ),
            ("icmp", "type = \"icmp\""),
        ];
        for (name, check) in more {
            pools.push((format!("{name}-{family}"), "gue-dsr", family, family, check));
        }
    }
    pools
}

fn config() -> String {
    let mut config = "version = 1\n\
        interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n"
        .to_owned();
    let mut add = |name: &str, check: &str, servers: &[(&str, IpAddr, u16)], backend: IpAddr| {
        config += &format!(
            "[[health_check]]\nname = \"{name}\"\n{check}\ninterval = \"200ms\"\ntimeout = \"3s\"\nrise = 2\nfall = 2\nmax_hold = \"1ms\"\n\
             [[pool]]\nname = \"{name}\"\nhealth_check = \"{name}\"\nbackend = [{{ name = \"b1\", address = \"{backend}\" }}]\n",
        );
        for (mode, vip, port) in servers {
            config += &format!(
                "[[virtual_server]]\nname = \"{name}-{vip}\"\naddress = \"{vip}\"\nport = {port}\nmode = \"{mode}\"\npool = \"{name}\"\n",
            );
        }
    };
    for (number, (name, mode, vip, backend, check)) in (1000..).zip(pools()) {
        let port = if name.starts_with("https") {
            TLS
        } else {
            number
        };
        let check = format!("{check}\nvia = \"tunnel\"");
        add(
            &name,
            &check,
            &[(mode, vip.vip(VIP), port)],
            backend.backend(0),
        );
    }
    let (backend, vip) = (Family::V4.backend(0), |n| Family::V4.vip(VIP + n));
    let check = "type = \"http\"\npath = \"/health\"\nport = 80";
    add(DIRECT, check, &[("ipip-dsr", vip(0), 2000)], backend);
    let servers = [("ipip-dsr", vip(0), 2001), ("gue-dsr", vip(1), 2001)];
    add(
        BOTH_VIPS,
        &format!("{check}\nvia = \"tunnel\""),
        &servers,
        backend,
    );
    config
}

struct World {
    forwarder: Forwarder,
    _tls: Vec<TlsServer>,
    decapsulator: Option<Process>,
    site: Site,
}

impl World {
    fn start() -> Self {
        Self::with(&config())
    }

    fn with(config: &str) -> Self {
        let site = site();
        let certificate = Certificate::new("www.example.com", 49).expect("a certificate");
        let serve = |family: Family| {
            let address = SocketAddr::new(family.vip(VIP), TLS);
            TlsServer::start(&site.backends[0], address, &certificate).expect("a TLS server")
        };
        let tls = Family::ALL.map(serve).into();
        // What comes back from VIPs comes in by another interface than the one towards them.
        let strict = [
            ("net/ipv4/conf/all/rp_filter", "1"),
            ("net/ipv4/conf/eth1/rp_filter", "1"),
        ];
        site.forwarder.sysctl(&strict).expect("sysctl");
        let forwarder =
            Forwarder::start(binary(), &site.forwarder, site.directory(), config).expect("start");
        Self {
            forwarder,
            _tls: tls,
            decapsulator: None,
            site,
        }
    }

    /// Takes tunnels off on the backend, for these VIPs whether it has them or not.
    fn decapsulate(&mut self) {
        let host = &self.site.backends[0];
        let mut command = host.command(binary());
        command.args(["backend", "eth0"]);
        for family in Family::ALL {
            for number in [VIP, VIP + 1] {
                command.args(["--vip", &family.vip(number).to_string()]);
            }
        }
        let log = self.site.directory().join("decapsulator.log");
        self.decapsulator = Some(Process::start(command, &log).expect("start"));
        wait_until("XDP is attached on the backend", LIMIT, || {
            has_xdp(host, "eth0")
        })
        .expect("the decapsulator");
    }

    /// Waits until every backend is as wanted, all at the same time.
    fn wait(&self, what: &str, wanted: impl Fn(&str, &Value) -> bool) {
        let mut last = Vec::new();
        wait_until(what, LIMIT, || {
            // A daemon that is busy is asked again.
            let Ok(status) = self.forwarder.status() else {
                return false;
            };
            let pools = status["pools"].as_array().expect("pools");
            last = pools
                .iter()
                .map(|pool| (pool["name"].as_str().expect("a name"), &pool["backends"][0]))
                .filter(|(name, backend)| !wanted(name, backend))
                .map(|(name, backend)| format!("{name}: {backend:#}"))
                .collect();
            last.is_empty() && !pools.is_empty()
        })
        .unwrap_or_else(|error| panic!("{error}: {last:#?}\n{}", self.forwarder.log()));
    }

    fn backend(&self, pool: &str) -> Value {
        let status = self.forwarder.status().expect("status");
        let pools = status["pools"].as_array().expect("pools");
        let found = pools.iter().find(|each| each["name"] == pool);
        found.expect("the pool")["backends"][0].clone()
    }

    fn wait_all_up(&self) {
        self.wait("all up", |_, backend| backend["health"] == "up");
    }

    fn vip(&self, change: &str, family: Family, number: u8) {
        let prefix = if family == Family::V4 { 32 } else { 128 };
        let vip = family.vip(VIP + number);
        let nodad = if change == "add" && family == Family::V6 {
            " nodad"
        } else {
            ""
        };
        self.site.backends[0]
            .ip(&format!("address {change} {vip}/{prefix} dev lo{nodad}"))
            .expect("ip address");
    }
}

/// Down, and the reason says this.
fn down(backend: &Value, reason: &str) -> bool {
    let error = backend["health_error"].as_str();
    backend["health"] == "down" && error.is_some_and(|error| error.contains(reason))
}

fn counted(backend: &Value, result: &str) -> bool {
    backend["health_check"]["results"][result].as_u64() >= Some(1)
}

#[test]
fn a_backend_needs_tunnel_vip_and_service() {
    let mut world = World::start();

    // Its own address answers, but nobody takes the tunnel off.
    world.wait(
        "down, but for the direct check",
        |pool, backend| match pool {
            DIRECT => backend["health"] == "up",
            _ => down(backend, "tunnel"),
        },
    );
    // The host says so, if not each time: ICMP errors are few.
    for family in Family::ALL {
        let address = family.backend(0).to_string();
        wait_until("the reason is told", LIMIT, || {
            let status = world.forwarder.status().expect("status");
            let pools = status["pools"].as_array().expect("pools");
            let mut backends = pools.iter().map(|pool| &pool["backends"][0]);
            backends.any(|backend| backend["address"] == *address && counted(backend, "tunnel"))
        })
        .unwrap_or_else(|error| panic!("{error} by {address}\n{}", world.forwarder.diagnosis()));
    }

    world.decapsulate();
    world.wait_all_up();

    // The tunnel, but not the VIP.
    for family in Family::ALL {
        world.vip("del", family, 0);
    }
    world.wait("down without the VIP", |pool, backend| match pool {
        DIRECT => backend["health"] == "up",
        _ => down(backend, "is the VIP on lo"),
    });
    for family in Family::ALL {
        world.vip("add", family, 0);
    }
    world.wait_all_up();

    // One VIP of two.
    world.vip("del", Family::V4, 1);
    world.wait("down without its second VIP", |pool, backend| match pool {
        BOTH_VIPS => down(backend, &Family::V4.vip(VIP + 1).to_string()),
        _ => backend["health"] == "up",
    });
    world.vip("add", Family::V4, 1);
    world.wait_all_up();

    // The service itself.
    world.site.server(0).expect("its server").set_health(503);
    world.wait("down without the service", |pool, backend| {
        let http = pool.contains("-in-") || [DIRECT, BOTH_VIPS].contains(&pool);
        match http {
            true => down(backend, "HTTP status 503") && counted(backend, "status"),
            false => backend["health"] == "up",
        }
    });
    world.site.server(0).expect("its server").set_health(200);
    world.wait_all_up();
    world.site.stop_server(0);
    world.wait("down when nobody listens", |pool, backend| {
        if pool.starts_with("https") || pool.starts_with("icmp") {
            backend["health"] == "up"
        } else {
            backend["health"] == "down"
        }
    });

    // A VIP that the forwarder's host has itself is asked all the same.
    let vip = Family::V4.vip(VIP);
    let local = format!("address add {vip}/32 dev lo");
    world.site.forwarder.ip(&local).expect("ip address");
    let passed = |backend: &Value| backend["health_check"]["results"]["passed"].as_u64();
    let name = "icmp-ipv4";
    let before = passed(&world.backend(name));
    world.wait("asked twice more", |pool, backend| {
        pool != name || backend["health"] == "up" && passed(backend) > before.map(|count| count + 1)
    });
}

#[test]
fn a_thousand_go_through_tunnels_at_once() {
    let (vip, backend) = (Family::V4.vip(VIP), Family::V4.backend(0));
    let mut config = "version = 1\n\
        interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n\
        [[health_check]]\nname = \"tunnel\"\ntype = \"tcp\"\nport = 80\nvia = \"tunnel\"\n\
        interval = \"2s\"\ntimeout = \"10s\"\nrise = 2\nfall = 2\nmax_hold = \"1ms\"\n"
        .to_owned();
    for number in 0..1000 {
        let mode = ["ipip-dsr", "gue-dsr"][number % 2];
        let port = 1000 + number;
        config += &format!(
            "[[pool]]\nname = \"{number}\"\nhealth_check = \"tunnel\"\nbackend = [{{ address = \"{backend}\" }}]\n\
             [[virtual_server]]\nname = \"{number}\"\naddress = \"{vip}\"\nport = {port}\nmode = \"{mode}\"\npool = \"{number}\"\n",
        );
    }
    let mut world = World::with(&config);
    world.wait("down", |_, backend| backend["health"] == "down");
    world.decapsulate();
    world.wait_all_up();
    world.site.stop_server(0);
    world.wait("down when nobody listens", |_, backend| {
        backend["health"] == "down"
    });
}
