//! Source addresses: pools, connections that backends open, ports that belong to no flow.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::server::Server;
use forwarder_lab::site::{BACKENDS, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Namespace, wait_until};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::world::{HEADER, LIMIT, VIP, World, pool, site, virtual_server, web};

/// Two addresses inside that only the SNAT pool uses.
fn pool_addresses(family: Family) -> [IpAddr; 2] {
    [family.backend(40), family.backend(41)]
}

#[test]
fn full_nat_from_a_pool() {
    let site = site();
    let mut config = String::new();
    for family in Family::ALL {
        let addresses = pool_addresses(family);
        for address in addresses {
            let flags = if family == Family::V6 { "nodad" } else { "" };
            let address = family.in_subnet(address);
            site.forwarder
                .ip(&format!("address add {address} dev eth1 {flags}"))
                .expect("address");
        }
        let [first, second] = addresses;
        config += &format!(
            "[[snat_pool]]\nname = \"out-{family}\"\naddresses = [\"{first}\", \"{second}\"]\n\
             ports = \"20000-20999\"\ninterface = \"inside\"\n"
        );
        config += &web(family, "full-nat", &format!("snat = \"out-{family}\""));
    }
    let world = World::run(site, HEADER, &config);
    for family in Family::ALL {
        let web = SocketAddr::new(family.vip(VIP), HTTP);
        world.wait_for_all_backends(web);
        let clients: BTreeSet<_> = (0..200)
            .map(|_| world.http(web).expect("answer").client)
            .collect();
        let seen: Vec<_> = clients
            .iter()
            .map(|client| client.ip())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(
            seen,
            pool_addresses(family),
            "both addresses are used, and no other"
        );
        assert!(
            clients
                .iter()
                .all(|client| (20000..=20999).contains(&client.port())),
            "{clients:?}"
        );
        assert!(
            clients.len() > 150,
            "ports hardly repeat: {} of 200",
            clients.len()
        );
    }
}

#[test]
fn backends_open_connections_through_egress_snat() {
    let mut config = String::new();
    for (family, source) in [
        (Family::V4, "192.0.2.0/24"),
        (Family::V6, "2001:db8:2::/64"),
    ] {
        config += &format!(
            "[[egress]]\nsource = \"{source}\"\ninterface = \"outside\"\nsnat = \"automap\"\n"
        );
        // A file without a virtual server would have nothing to forward.
        config += &web(family, "dnat", "");
    }
    let site = site();
    let world = World::run(site, HEADER, &config);
    let needed = || -> Vec<String> {
        let status = world.forwarder.status().expect("status");
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let commands = problems.iter().filter_map(|problem| {
            let (_, command) = problem.as_str()?.split_once("sysctl -w ")?;
            Some(command.to_owned())
        });
        commands.collect()
    };
    // The kernel tells a route only to an interface that may forward, and the daemon says what to do.
    let commands = ["net.ipv4", "net.ipv6"].map(|net| format!("{net}.conf.eth1.forwarding=1"));
    wait_until("the problems are told", LIMIT, || needed() == commands).expect("problems");
    wait_until("the log says so", LIMIT, || {
        let said = world.forwarder.log();
        commands.iter().all(|command| said.contains(command))
    })
    .expect("warnings");
    for command in &commands {
        let (name, value) = command.split_once('=').expect("a setting");
        let name = name.replace('.', "/");
        world
            .site
            .forwarder
            .sysctl(&[(&name, value)])
            .expect("sysctl");
    }
    wait_until("the problems are over", LIMIT, || needed().is_empty()).expect("no problems");
    let at = |port| Family::ALL.map(|family| SocketAddr::new(family.client(), port));
    let _server =
        Server::start(&world.site.client, "internet", &at(8000), &at(9000)).expect("serve");
    for (family, index) in [(Family::V4, 0), (Family::V6, 1)] {
        world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
        for (backend, name) in world.site.backends.iter().zip(BACKENDS) {
            backend.run(|| {
                let short = Duration::from_secs(2);
                wait_until("a backend reaches the world", LIMIT, || {
                    http::get(at(8000)[index], "/", short).is_ok()
                })
                .unwrap_or_else(|error| {
                    let packet = format!(
                        "tcp {}:40000 -> {} --in eth1",
                        family.backend(0),
                        at(8000)[index]
                    );
                    panic!(
                        "{name} {family}: {error:#}\n{:?}",
                        world.forwarder.trace(&packet)
                    )
                });
                for _ in 0..20 {
                    let answer = http::get(at(8000)[index], "/", LIMIT).expect("answer");
                    assert_eq!(
                        (answer.backend.as_str(), answer.client.ip()),
                        ("internet", family.outside())
                    );
                    let answer = udp::request(at(9000)[index], 1000, LIMIT).expect("answer");
                    assert_eq!(
                        (answer.backend.as_str(), answer.client.ip()),
                        ("internet", family.outside())
                    );
                }
                let mut connection =
                    http::Connection::open(at(8000)[index], LIMIT).expect("connect");
                connection.download(5_000_000).expect("download");
                connection.upload(5_000_000).expect("upload");
            });
        }
    }
}

/// What a view of the daemon shows, as JSON.
fn shown(world: &World, words: &[&str]) -> Value {
    let output = world.forwarder.run(&[words, &["-o", "json"]].concat());
    let output = output.expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Each backend has two ports to itself: a third connection at once finds none, and that is counted for it alone.
#[test]
fn backends_have_outbound_ports_of_their_own() {
    let family = Family::V4;
    let source = family.vip(40);
    let config = format!(
        "[[snat_pool]]\nname = \"out\"\naddresses = \"{source}\"\nports = \"20000-20005\"\ninterface = \"outside\"\n\
         [[egress]]\npool = \"web\"\ninterface = \"outside\"\nsnat = \"out\"\nports_per_backend = 2\n{}{}",
        pool("web", family, Some(HTTP_REWRITTEN)),
        virtual_server(
            "web",
            "dnat",
            family.vip(VIP),
            HTTP,
            "tcp",
            "pool = \"web\""
        ),
    );
    let site = site();
    let address = format!("address add {source}/32 dev eth0");
    site.forwarder.ip(&address).expect("an address");
    let forwarding = [("net/ipv4/conf/eth1/forwarding", "1")];
    site.forwarder.sysctl(&forwarding).expect("sysctl");
    let world = World::run(site, HEADER, &config);
    world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
    let server = SocketAddr::new(family.client(), 8000);
    let _server = Server::start(&world.site.client, "internet", &[server], &[]).expect("serve");
    let short = Duration::from_secs(2);
    let open = |index: usize, limit| {
        world.site.backends[index].run(|| {
            let mut connection = http::Connection::open(server, limit)?;
            let client = connection.get("/")?.client;
            anyhow::Ok((connection, client))
        })
    };
    let mut kept = Vec::new();
    for (index, name) in BACKENDS.into_iter().enumerate() {
        let mut own = Vec::new();
        while own.len() < 2 {
            let mut connection = None;
            wait_until("a backend reaches the world", LIMIT, || {
                connection = open(index, short).ok();
                connection.is_some()
            })
            .unwrap_or_else(|error| panic!("{error:#}\n{}", world.forwarder.diagnosis()));
            own.extend(connection);
        }
        let mut ports: Vec<_> = own.iter().map(|(_, client)| client.port()).collect();
        ports.sort_unstable();
        let first = 20_000 + 2 * index as u16;
        assert_eq!(ports, [first, first + 1], "{name}");
        assert!(own.iter().all(|(_, client)| client.ip() == source));
        kept.push(own);
    }
    assert!(open(1, short).is_err(), "it has no port left");
    let exhausted = |index: u8| {
        let name = format!("out/{}", family.backend(index));
        let snat = shown(&world, &["snat"]);
        let pools = snat["pools"].as_array().expect("a list");
        let mut pools = pools.iter().filter(|pool| pool["name"] == name.as_str());
        let pool = pools.next().unwrap_or_else(|| panic!("no {name}: {snat}"));
        pool["exhausted"]["packets"].as_u64().expect("a number")
    };
    wait_until("it is counted", LIMIT, || exhausted(1) > 0).expect("counted");
    assert_eq!((exhausted(0), exhausted(2)), (0, 0));
    // Who has ports is not affected.
    for (connection, client) in kept.iter_mut().flatten() {
        assert_eq!(connection.get("/").expect("an answer").client, *client);
    }
}

#[test]
fn a_virtual_server_forgets_quiet_flows_in_its_own_time() {
    let family = Family::V4;
    let full_nat = |name, vip, more: &str| {
        let more = format!("pool = \"web\"\nsnat = \"automap\"\n{more}");
        virtual_server(name, "full-nat", family.vip(vip), HTTP, "tcp", &more)
    };
    let config = pool("web", family, Some(HTTP_REWRITTEN))
        + &full_nat("soon", VIP, "idle_timeout = \"3s\"")
        + &full_nat("late", VIP + 1, "");
    let world = World::start(&config);
    let mut connections = [VIP, VIP + 1].map(|vip| {
        let server = SocketAddr::new(family.vip(vip), HTTP);
        world.wait_for_all_backends(server);
        let open = || {
            let mut connection = http::Connection::open(server, Duration::from_secs(2))?;
            let client = connection.get("/")?.local;
            anyhow::Ok((connection, client))
        };
        let mut opened = None;
        wait_until("a connection", LIMIT, || {
            opened = world.site.client.run(open).ok();
            opened.is_some()
        })
        .expect("a connection");
        opened.expect("it was waited for")
    });
    let flow = |client: SocketAddr| {
        let flows = shown(&world, &["flow", "--port", &client.port().to_string()]);
        let flows = flows["flows"].as_array().expect("a list");
        flows
            .iter()
            .any(|flow| flow["client"] == client.to_string())
    };
    let [soon, late] = [connections[0].1, connections[1].1];
    wait_until("one is forgotten", LIMIT, || !flow(soon)).expect("forgotten");
    assert!(flow(late), "the other is not");
    let (connection, _) = &mut connections[1];
    connection.get("/").expect("an answer");
}

/// The client, which only waits, reads a reset, and the backend has no connection left.
#[test]
fn both_ends_of_a_forgotten_connection_are_reset() {
    let mut config = String::new();
    for family in Family::ALL {
        let name = format!("web-{family}");
        let more = format!(
            "pool = \"{name}\"\nsnat = \"automap\"\nidle_timeout = \"3s\"\nidle_reset = true"
        );
        config += &pool(&name, family, Some(HTTP_REWRITTEN));
        config += &virtual_server(&name, "full-nat", family.vip(VIP), HTTP, "tcp", &more);
    }
    let world = World::start(&config);
    for family in Family::ALL {
        let server = SocketAddr::new(family.vip(VIP), HTTP);
        world.wait_for_all_backends(server);
        let end = world.site.client.run(|| {
            let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: vip\r\n\r\n")?;
            io::copy(&mut stream, &mut io::sink())
        });
        let end = end.map_err(|error| error.kind());
        let expected = Err(io::ErrorKind::ConnectionReset);
        assert_eq!(end, expected, "{family}\n{}", world.forwarder.diagnosis());
    }
    let open = || -> Vec<String> {
        let backends = world.site.backends.iter();
        backends
            .map(|host| established(host, HTTP_REWRITTEN))
            .collect()
    };
    wait_until("the backends are told", LIMIT, || {
        open().concat().trim().is_empty()
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", open(), world.forwarder.diagnosis()));
}

/// What connections a host has at a port of its own.
fn established(host: &Namespace, port: u16) -> String {
    let mut command = host.command("ss");
    let port = format!("( sport = :{port} )");
    command.args(["-Htn", "state", "established", &port]);
    let output = command.output().expect("ss runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The host, which only waits, reads a reset, and so does the server; another one from the same port works.
#[test]
fn both_ends_of_a_forgotten_connection_to_the_outside_are_reset() {
    const PORT: u16 = 8000;
    let mut config = String::new();
    for family in Family::ALL {
        let (name, source) = (format!("web-{family}"), family.backend(0));
        config += &format!(
            "[[egress]]\nsource = \"{source}/{}\"\ninterface = \"outside\"\nidle_timeout = \"3s\"\nidle_reset = true\n",
            if source.is_ipv4() { 32 } else { 128 }
        );
        config += &pool(&name, family, Some(HTTP_REWRITTEN));
        let more = format!("pool = \"{name}\"");
        config += &virtual_server(&name, "dnat", family.vip(VIP), HTTP, "tcp", &more);
    }
    let site = site();
    let forwarding = ["ipv4", "ipv6"].map(|ip| format!("net/{ip}/conf/eth1/forwarding"));
    for setting in &forwarding {
        site.forwarder.sysctl(&[(setting, "1")]).expect("sysctl");
    }
    let world = World::run(site, HEADER, &config);
    let servers = Family::ALL.map(|family| SocketAddr::new(family.client(), PORT));
    let _server = Server::start(&world.site.client, "internet", &servers, &[]).expect("serve");
    for (family, server) in Family::ALL.into_iter().zip(servers) {
        let connect = |limit| {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            let own = SocketAddr::new(family.backend(0), 40_000);
            socket.bind(&own.into())?;
            socket.connect_timeout(&server.into(), limit)?;
            io::Result::Ok(TcpStream::from(socket))
        };
        let open = || {
            let mut stream = connect(Duration::from_secs(2))?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: outside\r\n\r\n")?;
            io::copy(&mut stream, &mut io::sink())
        };
        let mut end = None;
        wait_until("a backend reaches the world", LIMIT, || {
            let ended = world.site.backends[0]
                .run(open)
                .map_err(|error| error.kind());
            let reached = ended != Err(io::ErrorKind::TimedOut);
            end = Some(ended);
            reached
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", world.forwarder.diagnosis()));
        let expected = Some(Err(io::ErrorKind::ConnectionReset));
        assert_eq!(end, expected, "{server}\n{}", world.forwarder.diagnosis());
        // Sooner than the entries of the first are gone.
        let again = world.site.backends[0].run(|| connect(Duration::from_secs(20)));
        again.unwrap_or_else(|error| panic!("{server}: {error}\n{}", world.forwarder.diagnosis()));
    }
    let open = || established(&world.site.client, PORT);
    wait_until("the servers are told", LIMIT, || open().trim().is_empty())
        .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", open(), world.forwarder.diagnosis()));
}

#[test]
fn a_port_of_the_range_without_a_flow_is_silent() {
    let mut config = String::new();
    for family in Family::ALL {
        config += &web(family, "full-nat", "snat = \"automap\"");
    }
    let world = World::start(&config);
    for family in Family::ALL {
        world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
        let connect = |port, limit| {
            world.site.backends[0].run(|| {
                let server = SocketAddr::new(family.inside(), port);
                TcpStream::connect_timeout(&server, limit)
                    .expect_err("nobody listens")
                    .kind()
            })
        };
        assert_eq!(
            connect(20000, Duration::from_millis(500)),
            io::ErrorKind::TimedOut,
            "a port of the range"
        );
        assert_eq!(
            connect(9, LIMIT),
            io::ErrorKind::ConnectionRefused,
            "a port of the host's own"
        );
    }
}
