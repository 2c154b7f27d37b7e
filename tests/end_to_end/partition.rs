//! What a node does that has lost its peer, under each policy.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use forwarder_lab::certificate::Certificate;
use forwarder_lab::{Family, Process, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Two};
use super::world::both_services;

fn start(more: String) -> Two {
    // As long as the test runs.
    let more = Box::leak(more.into_boxed_str());
    let two = Two::of(&both_services("l2-dsr", |family| family), more);
    two.wait_for([Some("active"), Some("standby")]);
    two
}

impl Two {
    /// Waits until a node has a role, whatever the other sees of it.
    fn wait_for_role(&self, index: usize, role: &str) {
        wait_until(role, LIMIT, || self.pair(index)["role"] == role)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.diagnosis()));
    }

    /// Cuts the first node off from these addresses, or no longer.
    fn cut(&self, addresses: &[IpAddr], verb: &str) {
        self.cut_node(0, addresses, verb);
    }

    fn cut_node(&self, index: usize, addresses: &[IpAddr], verb: &str) {
        for address in addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let route = format!("route {verb} blackhole {address}/{bits}");
            self.host(index).ip(&route).expect("a route");
        }
    }
}

/// The second node, on both paths.
fn peer() -> [IpAddr; 2] {
    [Family::V4.vip(3), Family::V6.backend(20)]
}

#[test]
fn an_unpreferred_node_waits_for_its_operator() {
    let mut two = start("partition = \"yield\", ".to_owned());
    two.nodes[0] = None;
    let told = "lb2 may not be active without lb1";
    wait_until("it says that it waits", LIMIT, || {
        two.node(1).log().contains(told) && two.pair(1)["role"] == "standby"
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.run(1, &["failover", "--to", "lb2"]);
    two.wait_for([None, Some("active")]);
    two.served();
}

#[test]
fn a_node_cut_off_from_its_gateway_steps_aside() {
    let gateway = Family::V4.router();
    let two = start(format!(
        "partition = \"gateway\", gateway = \"{gateway}\", "
    ));
    wait_until("both reach the gateway", LIMIT, || {
        let answers = format!("gateway {gateway} answers");
        (0..2).all(|node| two.node(node).log().contains(&answers))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    let [one, other] = peer();
    two.cut(&[one, other, gateway], "add");
    two.wait_for_role(0, "standby");
    two.wait_for_role(1, "active");
    two.served();
    two.cut(&[one, other, gateway], "del");
    // Whoever reaches the gateway before the peer answers may have taken over meanwhile: one stays.
    wait_until("one of two is active", LIMIT, || {
        let mut roles = [0, 1].map(|node| two.pair(node)["role"].to_string());
        roles.sort_unstable();
        roles == ["\"active\"", "\"standby\""]
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.served();
}

/// A real etcd at the router, which both nodes reach however they are cut apart.
struct Etcd {
    address: SocketAddr,
    process: Option<Process>,
}

impl Etcd {
    fn new() -> Self {
        Self {
            address: SocketAddr::new(Family::V4.router(), 2379),
            process: None,
        }
    }

    /// Starts it, with what it has on disk.
    fn start(&mut self, two: &Two) {
        self.start_with(two, format!("http://{}", self.address), &[]);
    }

    /// With TLS at its address; without at `PLAIN`.
    fn start_tls(&mut self, two: &Two, certificate: &Path, key: &Path) {
        let files = [("--cert-file", certificate), ("--key-file", key)];
        let plain = SocketAddr::from(PLAIN);
        let urls = format!("https://{},http://{plain}", self.address);
        self.start_with(two, urls, &files);
        wait_until("etcd answers", LIMIT, || {
            post(two, "/v3/kv/range", r#"{"key":"YQ=="}"#).contains("revision")
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
    }

    fn start_with(&mut self, two: &Two, clients: String, files: &[(&str, &Path)]) {
        let directory = two.site.directory().join("etcd");
        fs::create_dir_all(&directory).expect("a directory");
        let mut command = two.site.router.command("etcd");
        command.arg(format!("--listen-client-urls={clients}"));
        command.arg(format!("--advertise-client-urls={clients}"));
        command.arg("--listen-peer-urls=http://127.0.0.1:2380");
        for (option, file) in files {
            command.arg(option).arg(file);
        }
        command.arg("--data-dir").arg(directory.join("data"));
        let process = Process::start(command, &directory.join("log"));
        self.process = Some(process.expect("etcd, by `cargo xtask setup`"));
    }

    fn stop(&mut self) {
        self.process = None;
    }
}

/// Where etcd is administered from, at the router.
const PLAIN: ([u8; 4], u16) = ([127, 0, 0, 1], 2389);

/// Asks etcd; what it answers, or nothing.
fn post(two: &Two, path: &str, body: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from(PLAIN))?;
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    two.site.router.run(ask).unwrap_or_default()
}

impl Two {
    /// Waits until the pair's status on both nodes is as wanted, all of it at once.
    fn wait_until_seen(&self, what: &str, mut wanted: impl FnMut(&[Value; 2]) -> bool) {
        let mut seen = [Value::Null, Value::Null];
        wait_until(what, LIMIT, || {
            seen = [0, 1].map(|node| self.pair(node));
            wanted(&seen)
        })
        .unwrap_or_else(|error| panic!("{error:#}: {seen:#?}\n{}", self.diagnosis()));
    }

    /// Cuts the nodes apart, or no longer: a data plane answers echoes whatever routes there are.
    fn cut_apart(&self, verb: &str) {
        self.cut(&peer(), verb);
        self.cut_node(1, &[Family::V4.outside(), Family::V6.inside()], verb);
    }

    /// Waits until both nodes can ask etcd, or neither can.
    fn wait_for_answers(&self, answers: bool) {
        self.wait_until_seen("etcd answers, or not", |pairs| {
            let mut pairs = pairs.iter();
            pairs.all(|pair| pair["witness"]["answers"] == answers)
        });
    }

    /// Waits until the nodes are cut apart and one is active, with the lease; which one.
    fn wait_for_holder(&self) -> usize {
        let holder = |pairs: &[Value; 2]| {
            (0..2).find(|node| {
                let (one, other) = (&pairs[*node], &pairs[1 - *node]);
                let holds = [one, other].map(|pair| pair["witness"]["holds"] == true);
                let roles = one["role"] == "active" && other["role"] == "standby";
                roles && holds == [true, false] && is_alone(one) && is_alone(other)
            })
        };
        let mut found = None;
        self.wait_until_seen("one is active", |pairs| {
            found = holder(pairs);
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

fn is_alone(pair: &Value) -> bool {
    let mut paths = pair["paths"].as_array().into_iter().flatten();
    paths.all(|path| path["state"] == "down")
}

fn with_etcd(etcd: &Etcd, lease: &str) -> Two {
    let server = etcd.address;
    start(format!(
        "partition = \"etcd\", etcd = {{ address = \"{server}\", lease = \"{lease}\" }}, "
    ))
}

#[test]
fn of_two_that_are_cut_apart_one_has_the_lease_of_etcd() {
    let mut etcd = Etcd::new();
    let two = with_etcd(&etcd, "60s");
    // Without it nothing changes while they hear each other; it is a problem, though.
    two.wait_for_answers(false);
    let warned = |node| {
        let status = two.node(node).run(&["status"]).expect("status");
        String::from_utf8_lossy(&status.stdout).contains("no answer of etcd")
    };
    wait_until("both warn", LIMIT, || warned(0) && warned(1))
        .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    two.wait_for([Some("active"), Some("standby")]);
    etcd.start(&two);
    two.wait_for_answers(true);

    let twice = two.owned_twice(|| {
        two.cut_apart("add");
        let holder = two.wait_for_holder();
        println!("lb{} has it", holder + 1);
        two.served();
        // It stays so while etcd is away for less than the lease.
        etcd.stop();
        two.wait_for_answers(false);
        etcd.start(&two);
        two.wait_for_answers(true);
        let still = two.wait_for_holder();
        // A daemon that got no CPU gives up by itself.
        let starved = |node: usize| two.node(node).log().contains("not renewed in time");
        assert!(still == holder || starved(holder), "{}", two.diagnosis());
        let holder = still;
        two.served();
        two.cut_apart("del");
        let mut roles = [Some("standby"); 2];
        roles[holder] = Some("active");
        two.wait_for(roles);
        // It is given back, and is not needed any more.
        two.wait_until_seen("nobody has the lease", |pairs| {
            let mut pairs = pairs.iter();
            pairs.all(|pair| pair["witness"]["holds"] == false)
        });
        etcd.stop();
        two.wait_for_answers(false);
        two.wait_for(roles);
        two.served();
    });
    assert_eq!(twice, 0, "{}", two.diagnosis());
}

#[test]
fn who_has_the_lease_and_loses_it_stops_before_the_other_begins() {
    let mut etcd = Etcd::new();
    let two = with_etcd(&etcd, "2s");
    etcd.start(&two);
    two.wait_for_answers(true);
    let twice = two.owned_twice(|| {
        two.cut_apart("add");
        let holder = two.wait_for_holder();
        two.cut_node(holder, &[etcd.address.ip()], "add");
        two.wait_until_seen("the other one has it", |pairs| {
            let (one, other) = (&pairs[holder], &pairs[1 - holder]);
            let changed = one["role"] == "standby" && other["role"] == "active";
            changed && other["witness"]["holds"] == true && one["witness"]["holds"] == false
        });
        two.served();
        two.cut_node(holder, &[etcd.address.ip()], "del");
        two.cut_apart("del");
        let mut roles = [Some("active"); 2];
        roles[holder] = Some("standby");
        two.wait_for(roles);
        two.served();
    });
    assert_eq!(twice, 0, "{}", two.diagnosis());
}

#[test]
fn a_dead_node_is_replaced_though_etcd_decides() {
    let mut etcd = Etcd::new();
    let mut two = with_etcd(&etcd, "60s");
    etcd.start(&two);
    two.wait_for_answers(true);
    // The dead one has no lease that would have to end first.
    two.nodes[0] = None;
    println!("kill -9: {:?}", two.served());
    two.wait_for([None, Some("active")]);
    wait_until("it has the lease", LIMIT, || {
        two.pair(1)["witness"]["holds"] == true
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
    // What a daemon leaves behind, the next one of the same node takes up again.
    let config = two.config(&both_services("l2-dsr", |family| family));
    two.nodes[1] = None;
    two.nodes[1] = Some(two.daemon(1, &config));
    two.wait_for([None, Some("active")]);
    two.served();
}

/// A file in the site's directory that only its owner may read.
fn secret(two: &Two, name: &str, content: &str) -> PathBuf {
    let path = two.site.directory().join(name);
    fs::write(&path, content).expect("write");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
    path
}

#[test]
fn etcd_is_asked_by_tls_and_with_a_password() {
    let mut etcd = Etcd::new();
    let server = etcd.address;
    let mut two = start(String::new());
    let certificate = || Certificate::new(&server.ip().to_string(), 49).expect("a certificate");
    let (right, wrong) = (certificate(), certificate());
    let authority = secret(&two, "ca.pem", &right.pem());
    let stranger = secret(&two, "stranger.pem", &wrong.pem());
    let key = secret(&two, "etcd.key", &right.key_pem());
    let password = secret(&two, "password", "correct horse\n");
    let guess = secret(&two, "guess", "battery staple\n");
    etcd.start_tls(&two, &authority, &key);
    let user = r#""forwarder""#;
    let (low, high) = (r#""Zm9yd2FyZGVyLw==""#, r#""Zm9yd2FyZGVyMA==""#);
    for (path, body) in [
        (
            "user/add",
            r#"{"name":"root","password":"root"}"#.to_owned(),
        ),
        ("role/add", r#"{"name":"root"}"#.to_owned()),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        (
            "user/add",
            format!(r#"{{"name":{user},"password":"correct horse"}}"#),
        ),
        ("role/add", format!(r#"{{"name":{user}}}"#)),
        (
            "role/grant",
            format!(
                r#"{{"name":{user},"perm":{{"permType":"READWRITE","key":{low},"range_end":{high}}}}}"#
            ),
        ),
        ("user/grant", format!(r#"{{"user":{user},"role":{user}}}"#)),
        ("enable", "{}".to_owned()),
    ] {
        let answer = post(&two, &format!("/v3/auth/{path}"), &body);
        assert!(answer.contains("200 OK"), "{path} {body}: {answer}");
    }

    let restart = |two: &mut Two, index: usize, authority: &Path, password: &Path| {
        let (authority, password) = (authority.display(), password.display());
        let more = format!(
            "partition = \"etcd\", etcd = {{ address = \"{server}\", lease = \"60s\", ca_file = \"{authority}\", \
             user = \"forwarder\", password_file = \"{password}\" }}, "
        );
        two.more = Box::leak(more.into_boxed_str());
        let config = two.config(&both_services("l2-dsr", |family| family));
        two.nodes[index] = None;
        two.nodes[index] = Some(two.daemon(index, &config));
    };
    restart(&mut two, 0, &authority, &guess);
    restart(&mut two, 1, &stranger, &password);
    two.wait_until_seen("both say what is wrong", |pairs| {
        let says = |index: usize, word: &str| {
            let problem = pairs[index]["witness"]["problem"].as_str();
            problem.is_some_and(|problem| problem.contains(word))
        };
        says(0, "invalid user ID or password") && says(1, "certificate")
    });
    for index in 0..2 {
        restart(&mut two, index, &authority, &password);
        let log = two.node(index).log();
        assert!(
            !log.contains("correct horse") && !log.contains("staple"),
            "{log}"
        );
    }
    two.wait_for_answers(true);
    two.cut_apart("add");
    two.wait_for_holder();
    two.served();
}
