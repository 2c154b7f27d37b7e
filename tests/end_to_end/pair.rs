//! Two nodes: one is active, the other takes over. Gaps are printed, not judged: this machine may be busy.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forwarder_lab::client::arp::Asker;
use forwarder_lab::client::http;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Forwarder, Namespace, Site, wait_until};
use serde_json::Value;

use super::world::{HEADER, VIP, binary, both_services, site};

/// A busy machine takes its time.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
const NODES: [&str; 2] = ["lb1", "lb2"];

/// A site with two forwarders. Dropped in this order.
pub(super) struct Two {
    pub nodes: [Option<Forwarder>; 2],
    second: Namespace,
    pub site: Site,
    /// More keys of the pair.
    pub more: &'static str,
}

impl Two {
    pub fn start(mode: &str) -> Self {
        Self::with(&both_services(mode, |family| family))
    }

    /// Two nodes with these virtual servers and pools.
    pub fn with(services: &str) -> Self {
        Self::of(services, "")
    }

    /// The same; `more`: keys of the pair, each with a comma after it.
    pub fn of(services: &str, more: &'static str) -> Self {
        let site = site();
        let second = site.lab().host("second").expect("a host");
        let at = |address: fn(Family) -> IpAddr| Family::ALL.map(|f| f.in_subnet(address(f)));
        let plug = |device, segment, addresses: [String; 2]| {
            site.plug(&second, device, segment, &addresses)
                .expect("plug it in");
        };
        plug("eth0", site.outside, at(|family| family.vip(3)));
        plug("eth1", site.inside, at(|family| family.backend(20)));
        for family in Family::ALL {
            let any = if family == Family::V4 {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            let route = format!("route replace {any} via {}", family.router());
            second.ip(&route).expect("a route");
        }
        let key = site.directory().join("pair.key");
        let made = second
            .command(binary())
            .args(["peer", "keygen"])
            .arg(&key)
            .status();
        assert!(made.expect("keygen runs").success());
        let mut two = Self {
            nodes: [None, None],
            second,
            site,
            more,
        };
        let config = two.config(services);
        for index in 0..2 {
            two.nodes[index] = Some(two.daemon(index, &config));
        }
        two
    }

    pub fn config(&self, services: &str) -> String {
        let key = self.site.directory().join("pair.key");
        let path = |one: IpAddr, other: IpAddr| {
            format!("{{ address = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}")
        };
        let (v4, v6) = (Family::V4, Family::V6);
        let header = if services.contains("automap") {
            let floating = Family::ALL.map(|family| format!("\"{}\"", family.backend(31)));
            let floating = format!("floating_address = [{}]", floating.join(", "));
            HEADER.replace(
                "device = \"eth1\"",
                &format!("device = \"eth1\", {floating}"),
            )
        } else {
            HEADER.to_owned()
        };
        format!(
            "{header}\nhash_key = \"00112233445566778899aabbccddeeff\"\n\
             node = [{{ name = \"lb1\" }}, {{ name = \"lb2\" }}]\n\
             pair = {{ {}key_file = \"{}\", interval = \"500ms\", priority = {{ lb1 = 200, lb2 = 100 }}, path = [{}, {}] }}\n{services}",
            self.more,
            key.display(),
            path(v4.outside(), v4.vip(3)),
            path(v6.inside(), v6.backend(20)),
        )
    }

    pub fn daemon(&self, index: usize, config: &str) -> Forwarder {
        let directory = self.site.directory().join(NODES[index]);
        fs::create_dir_all(&directory).expect("a directory");
        Forwarder::start_with(binary(), self.host(index), &directory, config, |command| {
            command.args(["--node", NODES[index]]);
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub fn host(&self, index: usize) -> &Namespace {
        if index == 0 {
            &self.site.forwarder
        } else {
            &self.second
        }
    }

    pub fn node(&self, index: usize) -> &Forwarder {
        self.nodes[index].as_ref().expect("it runs")
    }

    pub fn pair(&self, index: usize) -> Value {
        let status = self.node(index).status();
        status.map_or(Value::Null, |mut status| status["pair"].take())
    }

    /// Waits until the nodes that run have these roles, and know the way to every backend.
    pub fn wait_for(&self, roles: [Option<&str>; 2]) {
        // Each as itself and, where both run, as the other sees it.
        let as_wanted = || {
            (0..2).all(|index| {
                let Some(role) = roles[index] else {
                    return true;
                };
                let status = self.node(index).status().unwrap_or_default();
                let pair = &status["pair"];
                let peer = roles[1 - index];
                pair["role"] == role
                    && (roles.contains(&None) || answered_by_data_planes(pair))
                    && peer.is_none_or(|peer| pair["peer"]["role"] == peer)
                    && knows_backends(&status)
            })
        };
        wait_until("the roles", LIMIT, as_wanted)
            .unwrap_or_else(|error| panic!("{error:#}: {roles:?}\n{}", self.diagnosis()));
    }

    pub fn diagnosis(&self) -> String {
        let nodes = self.nodes.iter().flatten();
        nodes
            .map(Forwarder::diagnosis)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Asks again and again until both families are served; how long that took.
    #[expect(clippy::disallowed_methods, reason = "a gap is measured")]
    pub fn served(&self) -> Duration {
        let start = Instant::now();
        for family in Family::ALL {
            let vip = SocketAddr::new(family.vip(VIP), HTTP);
            wait_until("it is served", LIMIT, || {
                let answer = |timeout| http::get(vip, "/", timeout);
                self.site
                    .client
                    .run(|| answer(Duration::from_millis(100)))
                    .is_ok()
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
        }
        start.elapsed()
    }

    pub fn run(&self, index: usize, words: &[&str]) {
        let output = self.node(index).run(words).expect("it runs");
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.diagnosis()
        );
    }

    /// Runs `fault` while VIPs are asked for by ARP all the time; how many questions had two answers.
    pub fn owned_twice(&self, fault: impl FnOnce()) -> usize {
        let mac = self.site.router.mac("outside").expect("a MAC address");
        let IpAddr::V4(vip) = Family::V4.vip(VIP) else {
            unreachable!("an IPv4 address");
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                self.site.router.run(|| {
                    let mut asker = Asker::open("outside", &mac).expect("ARP");
                    while !over.load(Ordering::Relaxed) {
                        asker.ask_for(vip, Duration::from_millis(50)).expect("ask");
                    }
                    let owners = asker.owners();
                    assert!(!owners.is_empty(), "{} questions, no answer", asker.asked());
                    owners.values().filter(|macs| macs.len() > 1).count()
                })
            });
            {
                let _over = Over(&over);
                fault();
            }
            asking.join().expect("the asker")
        })
    }
}

/// Whether every path works, by the data plane at its other end.
fn answered_by_data_planes(pair: &Value) -> bool {
    let mut paths = pair["paths"].as_array().into_iter().flatten();
    paths.all(|path| path["state"] == "up" && path["answered_by"] == "data-plane")
}

/// Whether every backend is up and resolved.
fn knows_backends(status: &Value) -> bool {
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut backends = pools
        .filter_map(|pool| pool["backends"].as_array())
        .flatten();
    backends.all(|each| each["health"] == "up" && each["next_hop"].is_object())
}

/// Says at its end that it is over, so that nobody asks on after a failure.
pub(super) struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_node_is_replaced_and_comes_back_as_standby() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    two.nodes[0] = None;
    println!("kill -9: {:?}", two.served());
    two.wait_for([None, Some("active")]);
    let config = two.config(&both_services("l2-dsr", |family| family));
    two.nodes[0] = Some(two.daemon(0, &config));
    two.wait_for([Some("standby"), Some("active")]);
    two.served();
}

#[test]
fn no_vip_is_on_two_nodes_while_one_is_stopped_and_goes_on() {
    let two = Two::start("ipip-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    let twice = two.owned_twice(|| {
        let id = two.node(0).id().cast_signed();
        // SAFETY: no memory is passed; the process is ours and not waited for yet.
        let signal = |signal| unsafe { libc::kill(id, signal) };
        signal(libc::SIGSTOP);
        two.wait_for([None, Some("active")]);
        signal(libc::SIGCONT);
        two.wait_for([Some("standby"), Some("active")]);
    });
    assert_eq!(twice, 0, "{}", two.diagnosis());
}

#[test]
fn a_hand_over_loses_nothing_and_a_dead_link_hands_over() {
    let two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let web = SocketAddr::new(Family::V4.vip(VIP), HTTP);
    let over = AtomicBool::new(false);
    let requests = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            two.site.client.run(|| {
                let mut connection = http::Connection::open(web, LIMIT).expect("connect");
                let mut requests = 0;
                while !over.load(Ordering::Relaxed) {
                    connection.get("/").expect("the old connection lives");
                    http::get(web, "/", LIMIT).expect("a new one does");
                    requests += 1;
                }
                requests
            })
        });
        {
            let _over = Over(&over);
            two.run(0, &["failover"]);
            two.wait_for([Some("standby"), Some("active")]);
            two.run(0, &["failover", "--to", "lb1"]);
            two.wait_for([Some("active"), Some("standby")]);
            two.run(0, &["maintenance", "on"]);
            two.wait_for([Some("standby"), Some("active")]);
            two.run(0, &["maintenance", "off"]);
        }
        asking.join().expect("the client")
    });
    println!("hand-over: {requests} requests, none lost");
    two.second.ip("link set eth0 down").expect("cut");
    println!("link down: {:?}", two.served());
    wait_until("they have changed places", LIMIT, || {
        let (first, second) = (two.pair(0), two.pair(1));
        first["role"] == "active" && second["role"] == "standby" && second["health"] == "degraded"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
}
