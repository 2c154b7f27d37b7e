//! Connections through a takeover: the standby knows every NAT flow, its SNAT port, and who keeps a backend.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use forwarder_lab::client::handshake::Handshakes;
use forwarder_lab::client::http::Connection;
use forwarder_lab::client::{Answer, udp};
use forwarder_lab::server::Server;
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Namespace, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Over, Two};
use super::world::{VIP, both_services};

/// Connections of each family.
const CONNECTIONS: usize = 40;
/// So many take time to be told.
const MANY: u32 = 30_000;

/// Ports at the client, for those who open connections themselves.
const WORLD: [u16; 2] = [8000, 9000];

/// What a backend has opened itself: a connection and a talk by UDP, and as whom the outside saw it.
struct Opened {
    backend: usize,
    connection: Connection,
    talk: udp::Socket,
    seen: [SocketAddr; 2],
}

impl Opened {
    /// One more question and answer on each: as whom the outside sees it.
    fn ask(connection: &mut Connection, talk: &mut udp::Socket) -> Result<[SocketAddr; 2]> {
        Ok([connection.get("/")?.client, talk.request(64)?.client])
    }
}

/// HTTP and echo through full-nat, with source addresses that move with the VIPs.
fn services() -> String {
    let pool = Family::ALL.map(|family| format!("\"{}\"", family.backend(30)));
    both_services("full-nat", |family| family).replace("snat = \"automap\"", "snat = \"moving\"")
        + &format!(
            "[[snat_pool]]\nname = \"moving\"\naddresses = [{}]\nports = \"10000-59999\"\ninterface = \"inside\"\n",
            pool.join(", ")
        )
}

impl Two {
    pub fn connections(&self) -> Vec<(Connection, Answer)> {
        let servers = Family::ALL.map(|family| SocketAddr::new(family.vip(VIP), HTTP));
        self.site.client.run(|| {
            let all = servers.iter().cycle().take(2 * CONNECTIONS);
            all.map(|server| {
                let mut connection = Connection::open(*server, LIMIT).expect("connect");
                let answer = connection.get("/").expect("an answer");
                (connection, answer)
            })
            .collect()
        })
    }

    /// Every connection goes on, with the backend that it had.
    pub fn go_on(&self, connections: &mut [(Connection, Answer)]) {
        self.site.client.run(|| {
            for (connection, before) in connections {
                let answer = connection
                    .get("/")
                    .unwrap_or_else(|error| panic!("broken: {error:#}\n{}", self.diagnosis()));
                assert_eq!(answer.backend, before.backend);
            }
        });
    }

    /// Connections of IPv4 that nobody is at the ends of, through a node.
    fn handshakes(&self, node: usize) -> Handshakes {
        let IpAddr::V4(vip) = Family::V4.vip(VIP) else {
            unreachable!("an IPv4 address");
        };
        let server = SocketAddrV4::new(vip, HTTP);
        Handshakes::through(self.host(node), server, 0).expect("programs are attached")
    }

    /// The established flows that a node has.
    fn flows(&self, node: usize) -> Vec<Value> {
        let words = ["--state", "established", "--limit", "10000"];
        let asked = self
            .node(node)
            .run(&[&["flow", "-o", "json"], &words[..]].concat());
        let flows: Value = serde_json::from_slice(&asked.expect("flow runs").stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.diagnosis()));
        flows["flows"].as_array().cloned().expect("a list")
    }

    /// The clients of the established flows that a node has.
    fn clients(&self, node: usize) -> BTreeSet<String> {
        let flows = self.flows(node);
        let clients = flows.iter().filter_map(|flow| flow["client"].as_str());
        clients.map(str::to_owned).collect()
    }

    /// Every backend opens connections to the outside, until they can be had.
    fn open_outwards(&self) -> Vec<Opened> {
        let mut opened = Vec::new();
        for backend in 0..self.site.backends.len() {
            for family in Family::ALL.iter().cycle().take(8) {
                let [tcp, udp] = WORLD.map(|port| SocketAddr::new(family.client(), port));
                // The first packet to somebody whose MAC is not known yet is dropped.
                let short = Duration::from_secs(5);
                let open = || -> Result<Opened> {
                    let mut connection = Connection::open(tcp, LIMIT)?;
                    let mut talk = udp::Socket::open(udp, short)?;
                    // With the second packet it is established.
                    Opened::ask(&mut connection, &mut talk)?;
                    let seen = Opened::ask(&mut connection, &mut talk)?;
                    Ok(Opened {
                        backend,
                        connection,
                        talk,
                        seen,
                    })
                };
                let mut got = None;
                wait_until("a backend reaches the world", LIMIT, || {
                    got = self.site.backends[backend].run(open).ok();
                    got.is_some()
                })
                .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
                opened.extend(got);
            }
        }
        opened
    }

    /// What backends have opened goes on, and the outside sees it as it did.
    fn outward_goes_on(&self, opened: &mut [Opened]) {
        for each in opened {
            let Opened {
                connection, talk, ..
            } = each;
            let asked = self.site.backends[each.backend].run(|| Opened::ask(connection, talk));
            let asked =
                asked.unwrap_or_else(|error| panic!("broken: {error:#}\n{}", self.diagnosis()));
            assert_eq!(asked, each.seen);
        }
    }

    /// Waits until the standby knows of all that backends have opened.
    fn wait_for_outward(&self, standby: usize, opened: &[Opened]) {
        let wanted: BTreeSet<_> = opened.iter().flat_map(|each| each.seen).collect();
        wait_until("the standby has what backends opened", LIMIT, || {
            let flows = self.flows(standby);
            let sources = flows.iter().filter_map(|flow| flow["source"].as_str());
            let sources: BTreeSet<SocketAddr> = sources.filter_map(|s| s.parse().ok()).collect();
            sources.is_superset(&wanted) && self.pair(standby)["sync"]["complete"] == true
        })
        .unwrap_or_else(|error| panic!("{error:#}: {wanted:?}\n{}", self.diagnosis()));
    }

    /// Waits until a standby has all that the active node had.
    fn wait_for_all(&self, standby: usize) {
        let told = |node: usize| self.pair(node)["sync"]["complete"] == true;
        wait_until("the standby has all", LIMIT, || {
            told(standby) && told(1 - standby)
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }

    /// Waits until the standby has all of these flows.
    pub fn wait_for_flows(&self, standby: usize, connections: &[(Connection, Answer)]) {
        let has_all = || {
            let clients = self.clients(standby);
            let mut wanted = connections.iter();
            wanted.all(|(_, answer)| clients.contains(&answer.local.to_string()))
                && self.pair(standby)["sync"]["complete"] == true
        };
        wait_until("the standby has the flows", LIMIT, has_all).unwrap_or_else(|error| {
            let sync = [0, 1].map(|index| {
                let node = self.nodes[index].as_ref();
                node.map(|_| self.pair(index)["sync"].clone())
            });
            panic!("{error:#}\n{sync:?}\n{}", self.diagnosis())
        });
    }
}

#[test]
fn connections_live_on_when_their_node_dies_and_when_the_next_one_does() {
    let services = services();
    let mut two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    // The flows of some are told as they are made, the others' when the peer comes back.
    let mut connections = two.connections();
    two.wait_for_flows(1, &connections);
    two.nodes[0] = None;
    two.wait_for([None, Some("active")]);
    two.go_on(&mut connections);
    connections.extend(two.connections());
    let config = two.config(&services);
    two.nodes[0] = Some(two.daemon(0, &config));
    two.wait_for([Some("standby"), Some("active")]);
    two.wait_for_flows(0, &connections);
    two.go_on(&mut connections);
    two.nodes[1] = None;
    two.wait_for([Some("active"), None]);
    two.go_on(&mut connections);
    let unknown = two.pair(0)["sync"]["unknown"].clone();
    assert_eq!(unknown, 0, "{}", two.diagnosis());
}

#[test]
fn a_hand_over_to_a_node_that_has_just_come_loses_no_flow() {
    let services = services();
    let mut two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    two.nodes[1] = None;
    two.wait_for([Some("active"), None]);
    let mut many = two.handshakes(0);
    let made = two.host(0).run(|| many.make(MANY));
    made.unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    let mut connections = two.connections();
    let config = two.config(&services);
    two.nodes[1] = Some(two.daemon(1, &config));
    // As soon as it can.
    wait_until("it hands over", LIMIT, || {
        let asked = two.node(0).run(&["failover", "--to", "lb2"]);
        asked.is_ok_and(|output| output.status.success())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.wait_for([Some("standby"), Some("active")]);
    let there = two.handshakes(1);
    let unknown = two.host(1).run(|| there.speak(0, MANY)).expect("it runs");
    assert_eq!(unknown, 0, "of {MANY} flows\n{}", two.diagnosis());
    two.go_on(&mut connections);
}

#[test]
fn connections_through_automap_outlive_a_hand_over_and_a_kill() {
    let mut two = Two::start("full-nat");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let mut connections = two.connections();
    two.wait_for_flows(1, &connections);
    two.run(0, &["failover"]);
    two.wait_for([Some("standby"), Some("active")]);
    two.go_on(&mut connections);
    connections.extend(two.connections());
    two.wait_for_flows(0, &connections);
    two.nodes[1] = None;
    two.wait_for([Some("active"), None]);
    two.go_on(&mut connections);
    // What the backends saw was the floating address all the time.
    for (_, answer) in &connections {
        let floating = Family::ALL.map(|family| family.backend(31));
        assert!(floating.contains(&answer.client.ip()), "{answer:?}");
    }
}

/// The network may lag behind: what comes to the old node while it takes in what the new one tells is of flows
/// that both nodes have, and go on to have.
#[test]
fn connections_go_on_that_still_come_to_the_old_node() {
    let two = Two::of(&services(), "drain = \"10m\", ");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let mut connections = two.connections();
    two.wait_for_flows(1, &connections);
    let stays = |host: &Namespace, device: &str, address: IpAddr, mac: &str| {
        let at = format!("neighbour replace {address} lladdr {mac} dev {device} nud permanent");
        host.ip(&at).expect("a neighbour");
    };
    let [outside, inside] = ["eth0", "eth1"].map(|device| two.host(0).mac(device).expect("a MAC"));
    for family in Family::ALL {
        stays(&two.site.router, "outside", family.vip(VIP), &outside);
        let backends = two.site.backends.iter();
        backends.for_each(|host| stays(host, "eth0", family.backend(30), &inside));
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let talking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                two.go_on(&mut connections);
            }
            two.go_on(&mut connections);
        });
        {
            let _over = Over(&over);
            for _ in 0..3 {
                two.run(0, &["failover", "--to", "lb2"]);
                two.wait_for([Some("standby"), Some("active")]);
                two.wait_for_all(0);
                two.run(0, &["failover", "--to", "lb1"]);
                two.wait_for([Some("active"), Some("standby")]);
                two.wait_for_all(1);
            }
            two.run(0, &["failover", "--to", "lb2"]);
            two.wait_for([Some("standby"), Some("active")]);
            two.wait_for_all(0);
        }
        talking.join().expect("the client");
    });
}

/// Through a SNAT pool of the outside, as the hosts' gateway is a floating address.
#[test]
fn connections_that_backends_opened_outlive_a_kill_and_a_hand_over() {
    let mut services = both_services("full-nat", |family| family);
    let addresses = Family::ALL.map(|family| format!("\"{}\"", family.vip(40)));
    services += &format!(
        "[[snat_pool]]\nname = \"out\"\naddresses = [{}]\nports = \"10000-59999\"\ninterface = \"outside\"\n",
        addresses.join(", ")
    );
    for source in ["192.0.2.0/24", "2001:db8:2::/64"] {
        services += &format!(
            "[[egress]]\nsource = \"{source}\"\ninterface = \"outside\"\nsnat = \"out\"\n"
        );
    }
    let mut two = Two::with(&services);
    for host in [0, 1] {
        let forward = ["ipv4", "ipv6"].map(|family| format!("net/{family}/conf/eth1/forwarding"));
        let [four, six] = forward.each_ref().map(|name| (name.as_str(), "1"));
        two.host(host).sysctl(&[four, six]).expect("sysctl");
    }
    for (backend, family) in two
        .site
        .backends
        .iter()
        .flat_map(|b| Family::ALL.map(|f| (b, f)))
    {
        let any = ["0.0.0.0/0", "::/0"][usize::from(family == Family::V6)];
        let gateway = format!("route replace {any} via {}", family.backend(31));
        backend.ip(&gateway).expect("a route");
    }
    let at = WORLD.map(|port| Family::ALL.map(|family| SocketAddr::new(family.client(), port)));
    let _server = Server::start(&two.site.client, "world", &at[0], &at[1]).expect("serve");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let mut opened = two.open_outwards();
    two.wait_for_outward(1, &opened);
    let cables = |two: &Two, cut| {
        let ends = ["eth0", "eth1"].map(|device| (two.host(0), device));
        two.site.cut(&ends, cut).expect("cables");
    };
    // Without pins its kernel would route, untranslated, what still comes to it: that would be reset.
    cables(&two, true);
    two.nodes[0] = None;
    two.wait_for([None, Some("active")]);
    two.outward_goes_on(&mut opened);
    opened.extend(two.open_outwards());
    cables(&two, false);
    let config = two.config(&services);
    two.nodes[0] = Some(two.daemon(0, &config));
    two.wait_for([Some("standby"), Some("active")]);
    two.wait_for_outward(0, &opened);
    two.run(1, &["failover"]);
    two.wait_for([Some("active"), Some("standby")]);
    two.outward_goes_on(&mut opened);
    for node in [0, 1] {
        assert_eq!(two.pair(node)["sync"]["foreign"], 0, "{}", two.diagnosis());
    }
}

#[test]
fn flows_that_keep_or_left_a_backend_do_so_at_the_other_node_too() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let mut connections = two.connections();
    // The peer makes its table of what is drained here, too.
    for family in Family::ALL {
        two.run(0, &["pool", "drain", &format!("web-{family}"), "b1"]);
    }
    // Older flows speak again and keep their backend; new ones go elsewhere.
    two.go_on(&mut connections);
    let new = two.connections();
    assert!(new.iter().all(|(_, answer)| answer.backend != "b1"));
    connections.extend(new);
    let taken_in = || {
        let told = two.pair(0)["sync"].clone();
        // Asked after the other, that it may know of all that was told.
        let taken = two.pair(1)["sync"].clone();
        told["complete"] == true
            && told["waiting"] == 0
            && taken["complete"] == true
            && drained(&two)
            && taken["kept"].as_u64() > Some(0)
            && taken["kept"] == taken["consulted"]
    };
    wait_until("the standby has the exceptions", LIMIT, taken_in)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.nodes[0] = None;
    two.wait_for([None, Some("active")]);
    two.go_on(&mut connections);
}

#[test]
fn older_flows_go_on_through_a_node_that_came_after_their_backend_was_drained() {
    let services = both_services("l2-dsr", |family| family);
    let mut two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let mut connections = two.connections();
    let at_first = |(_, answer): &(Connection, Answer)| answer.backend == "b1";
    assert!(connections.iter().any(at_first));
    two.nodes[1] = None;
    two.wait_for([Some("active"), None]);
    // They say nothing meanwhile: only what the slots remember leads to their backend.
    let drained = services.replace("{ name = \"b1\",", "{ name = \"b1\", state = \"drained\",");
    assert_ne!(drained, services);
    let config = two.config(&drained);
    fs::write(two.node(0).config(), &config).expect("written");
    two.run(0, &["reload"]);
    two.nodes[1] = Some(two.daemon(1, &config));
    two.wait_for([Some("active"), Some("standby")]);
    wait_until("the standby has all", LIMIT, || {
        let all = |node: usize| two.pair(node)["sync"]["complete"] == true;
        all(0) && all(1)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.nodes[0] = None;
    two.wait_for([None, Some("active")]);
    two.go_on(&mut connections);
    assert!(two.connections().iter().all(|each| !at_first(each)));
}

#[test]
fn of_one_question_and_one_answer_the_standby_is_not_told() {
    let two = Two::with(&services());
    two.wait_for([Some("active"), Some("standby")]);
    two.served();
    let servers = Family::ALL.map(|family| SocketAddr::new(family.vip(VIP), ECHO));
    let open = |server: &SocketAddr| udp::Socket::open(*server, LIMIT).expect("a socket");
    let (short, long) = two.site.client.run(|| {
        let short = servers.iter().cycle().take(20).filter_map(|server| {
            let mut socket = open(server);
            // Once: what is asked again is a longer talk.
            socket.send(64).expect("sent");
            socket.receive(64).ok().map(|answer| answer.local)
        });
        let short: Vec<_> = short.collect();
        let long = servers.each_ref().map(|server| {
            let mut socket = open(server);
            socket.request(64).expect("an answer");
            socket.request(64).expect("another").local
        });
        (short, long)
    });
    assert!(!short.is_empty());
    // They came later, and are told in their order.
    let mut clients = BTreeSet::new();
    wait_until("the longer talks are told", LIMIT, || {
        clients = two.clients(1);
        long.iter()
            .all(|local| clients.contains(&local.to_string()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {long:?}\n{}", two.diagnosis()));
    let told = short
        .iter()
        .filter(|local| clients.contains(&local.to_string()));
    assert_eq!(told.collect::<Vec<_>>(), Vec::<&SocketAddr>::new());
}

/// Whether the standby has the backend drained that the active node's operator drained.
fn drained(two: &Two) -> bool {
    let status = two.node(1).status().unwrap_or_default();
    let pools = status["pools"].as_array().into_iter().flatten();
    let web = pools.filter(|pool| {
        let name = pool["name"].as_str();
        name.is_some_and(|name| name.starts_with("web"))
    });
    let mut backends = web
        .filter_map(|pool| pool["backends"].as_array())
        .flatten()
        .filter(|backend| backend["name"] == "b1")
        .peekable();
    backends.peek().is_some() && backends.all(|backend| backend["state"] == "drained")
}
