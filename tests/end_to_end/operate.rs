//! The pair as its operator sees it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use forwarder_lab::{Family, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Two};
use super::world::{VIP, binary, both_services};

/// Waits until `state` holds, and says what the nodes say if it never does.
fn wait(two: &Two, what: &str, state: impl Fn() -> bool) {
    wait_until(what, LIMIT, state).unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
}

/// What a command prints, and whether it succeeded.
fn run(two: &Two, node: usize, words: &[&str]) -> (bool, String) {
    let output = two.node(node).run(words).expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn metrics(two: &Two, node: usize) -> String {
    run(two, node, &["metrics"]).1
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|each| each == line)
}

/// Whether a counter is there and not zero.
fn is_counted(text: &str, series: &str) -> bool {
    let count = text.lines().find_map(|line| line.strip_prefix(series));
    count.is_some_and(|count| count != "0")
}

fn problem(two: &Two, node: usize, text: &str) -> bool {
    let status = two.node(node).status().unwrap_or_default();
    let problems = status["problems"].as_array();
    problems.is_some_and(|all| all.iter().any(|each| each == text))
}

#[test]
fn a_takeover_is_in_status_history_and_metrics() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    wait(&two, "metrics of the standby", || {
        let page = metrics(&two, 1);
        let lines = [
            r#"forwarder_role{role="standby"} 1"#,
            r#"forwarder_role{role="active"} 0"#,
            r#"forwarder_group_role{group="default",role="standby"} 1"#,
            r#"forwarder_pair_node_health{node="lb1",health="sound"} 1"#,
            r#"forwarder_pair_node_health{node="lb2",health="sound"} 1"#,
            r#"forwarder_pair_node_maintenance{node="lb1"} 0"#,
            "forwarder_pair_same_config 1",
        ];
        let up = format!(
            r#"forwarder_pair_path_state{{own="{}",peer="{}",state="up"}} 1"#,
            Family::V4.vip(3),
            Family::V4.outside(),
        );
        lines.iter().all(|line| has_line(&page, line)) && has_line(&page, &up)
    });
    two.nodes[0] = None;
    two.wait_for([None, Some("active")]);
    wait(&two, "the lost peer, and what it said last", || {
        let pair = two.pair(1);
        let last = &pair["peer"]["last"];
        pair["peer"]["role"].is_null()
            && last["role"] == "active"
            && last["version"] == env!("CARGO_PKG_VERSION")
            && problem(&two, 1, "nothing is heard of lb1")
    });
    wait(&two, "metrics of the takeover", || {
        let page = metrics(&two, 1);
        let lines = [
            r#"forwarder_role{role="active"} 1"#,
            r#"forwarder_pair_node_health{node="lb1",health="unknown"} 1"#,
        ];
        let counted = [
            r#"forwarder_role_changes_total{group="default",cause="peer-lost"} "#,
            r#"forwarder_role_change_phase_seconds_count{phase="detection"} "#,
            r#"forwarder_role_change_phase_seconds_count{phase="announcement"} "#,
        ];
        lines.iter().all(|line| has_line(&page, line))
            && counted.iter().all(|series| is_counted(&page, series))
    });
    let (_, text) = run(&two, 1, &["history", "--kind", "role"]);
    assert!(
        text.contains("active: the peer answers on no path"),
        "{text}"
    );
    let (_, text) = run(&two, 1, &["history", "--kind", "role", "-o", "json"]);
    let history: Value = serde_json::from_str(&text).expect("JSON");
    let events = history["events"].as_array().expect("events");
    let mut changes = events.iter().map(|event| &event["role"]);
    let change = changes.find(|change| change["cause"] == "peer-lost");
    let change = change.expect("the takeover");
    for phase in ["detection", "lease", "announcement"] {
        assert!(change["microseconds"][phase].is_u64(), "{text}");
    }
}

#[test]
fn an_operator_moves_and_holds_it_from_either_node() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    for node in 0..2 {
        let (done, text) = run(&two, node, &["failover", "--dry-run"]);
        assert!(
            done && text.contains("lb1 stops answering for 2 VIPs"),
            "{text}"
        );
        assert!(text.contains("lb2 takes them with epoch"), "{text}");
    }
    for node in 0..2 {
        for words in [
            &["failover", "--to", "lb1", "--dry-run"][..],
            &["failover", "--to", "lb1"],
        ] {
            let (done, text) = run(&two, node, words);
            assert!(done && text == "lb1 is active already\n", "{text}");
        }
    }
    let (done, text) = run(&two, 1, &["failover", "--to", "lb3"]);
    assert!(!done && text.contains("no node \"lb3\""), "{text}");

    let (done, text) = run(&two, 1, &["maintenance", "on"]);
    assert!(done && text.contains("lb2 is in maintenance"), "{text}");
    let refused = || {
        let (done, text) = run(&two, 0, &["failover", "--dry-run"]);
        !done && text.contains("the peer is in maintenance")
    };
    wait(&two, "the active node knows it", refused);
    let config = two.config(&both_services("l2-dsr", |family| family));
    two.nodes[1] = None;
    wait(&two, "the standby is gone", || {
        problem(&two, 0, "nothing is heard of lb2")
    });
    two.nodes[1] = Some(two.daemon(1, &config));
    wait(&two, "it is in maintenance after its restart too", || {
        two.pair(1)["maintenance"] == true
            && two.pair(0)["peer"]["maintenance"] == true
            && problem(&two, 0, "lb2 is in maintenance")
    });
    let (done, text) = run(&two, 1, &["maintenance", "off"]);
    assert!(done, "{text}");
    two.wait_for([Some("active"), Some("standby")]);
    let able = || run(&two, 1, &["failover", "--dry-run"]).0;
    wait(&two, "it can be moved again", able);
    let (done, text) = run(&two, 1, &["failover"]);
    assert!(done && text.contains("lb2 is active"), "{text}");
    two.wait_for([Some("standby"), Some("active")]);
    wait(&two, "the old node's history", || {
        let (_, text) = run(&two, 0, &["history", "--kind", "role"]);
        text.contains("standby: the peer has taken it") && text.contains("hand-over ")
    });
}

#[test]
fn an_epoch_does_not_come_again_and_another_key_is_told_of() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    let epoch = |two: &Two, node| two.pair(node)["groups"][0]["epoch"].as_u64();
    let first = epoch(&two, 0).expect("an epoch");
    // The standby has never been active, and yet it keeps what it has heard.
    let kept = two.node(1).config().with_file_name("forwarder.sock.epoch");
    wait(&two, "the standby keeps the epoch", || {
        fs::read_to_string(&kept).is_ok_and(|kept| kept == format!("0 {first}\n"))
    });
    two.nodes = [None, None];
    let key = two.site.directory().join("other.key");
    let mut keygen = two.host(1).command(binary());
    let made = keygen.args(["peer", "keygen"]).arg(&key).status();
    assert!(made.expect("keygen runs").success());
    let services = both_services("l2-dsr", |family| family);
    let same = two.config(&services);
    let other = same.replace("pair.key", "other.key");
    assert_ne!(same, other);
    two.nodes[1] = Some(two.daemon(1, &other));
    wait(&two, "a higher epoch", || {
        two.pair(1)["role"] == "active" && epoch(&two, 1) > Some(first)
    });
    two.nodes[0] = Some(two.daemon(0, &same));
    for (node, peer) in [(0, "lb2"), (1, "lb1")] {
        let text = format!(
            "{peer} seems to have another key: what comes from its address is not authentic"
        );
        wait(&two, &text, || problem(&two, node, &text));
    }
}

#[test]
fn another_configuration_and_strangers_are_seen() {
    let two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    let file = two.node(1).config();
    let config = fs::read_to_string(file).expect("the file");
    let slower = config.replace("interval = \"500ms\"", "interval = \"400ms\"");
    assert_ne!(slower, config);
    fs::write(file, slower).expect("write it");
    let (done, text) = run(&two, 1, &["reload"]);
    assert!(
        !done && text.contains("the standby's daemon first"),
        "{text}"
    );
    fs::write(file, format!("{config}\n# changed\n")).expect("write it");
    let (done, text) = run(&two, 1, &["reload"]);
    assert!(done, "{text}");
    for node in 0..2 {
        let names = ["lb1 and lb2", "lb2 and lb1"][node];
        let text = format!("{names} have different configurations");
        wait(&two, "the other configuration is seen", || {
            problem(&two, node, &text)
                && has_line(&metrics(&two, node), "forwarder_pair_same_config 0")
        });
    }
    let (from, to) = (Family::V4.vip(3), Family::V4.outside());
    let refused = |reason: &str| {
        let page = metrics(&two, 0);
        let series = format!("forwarder_pair_refused_datagrams_total{{reason=\"{reason}\"}} ");
        is_counted(&page, &series)
    };
    let send = |datagram: &[u8]| {
        two.host(1).run(|| {
            let socket = UdpSocket::bind((from, 0)).expect("a socket");
            socket.send_to(datagram, (to, 4747)).expect("send");
        });
    };
    wait(&two, "garbage is counted", || {
        send(b"garbage garbage garbage!");
        send(&[b'F', b'W', 1, 1, 1, 0, 0, 0].repeat(4));
        refused("foreign") && refused("forged")
    });
    wait(&two, "and logged", || {
        two.node(0).log().contains("datagrams refused: ")
    });
    two.wait_for([Some("active"), Some("standby")]);
}

const PROBES: &str = "
[[probe]]
port = 8086
message = \"active\"

[[probe]]
port = 8087
protocol = \"http\"
path = \"/active\"
";

/// Connects to a port of a node's own as a load balancer would, says something and reads all there is.
fn probe(two: &Two, own: IpAddr, port: u16, say: &str) -> io::Result<String> {
    two.site.client.run(|| {
        let timeout = Duration::from_millis(500);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(own, port), timeout)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(say.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

fn own(node: usize, family: Family) -> IpAddr {
    match node {
        0 => family.outside(),
        _ => family.vip(3),
    }
}

/// Whether the node's ports say that it is active, or that it is not.
fn says(two: &Two, node: usize, active: bool) -> bool {
    let status = if active { " 200 OK" } else { " 503 " };
    Family::ALL.into_iter().all(|family| {
        let own = own(node, family);
        let tcp = match probe(two, own, 8086, "") {
            Ok(answer) => active && answer == "active",
            Err(error) => !active && error.kind() == io::ErrorKind::ConnectionRefused,
        };
        let request = "GET /active HTTP/1.1\r\nHost: probe\r\n\r\n";
        let http = probe(two, own, 8087, request);
        let http = http.unwrap_or_default();
        let first = http.lines().next().unwrap_or_default();
        tcp && first.contains(status.trim_end())
    })
}

#[test]
fn a_load_balancer_in_front_finds_the_active_node() {
    let services = both_services("l2-dsr", |family| family);
    let two = Two::with(&format!("{services}{PROBES}"));
    two.wait_for([Some("active"), Some("standby")]);
    wait(&two, "the first node says yes, the second no", || {
        says(&two, 0, true) && says(&two, 1, false)
    });
    let (done, text) = run(&two, 0, &["failover"]);
    assert!(done, "{text}");
    wait(&two, "it is the other way round", || {
        says(&two, 0, false) && says(&two, 1, true)
    });
    let client = Family::V6.client().to_string();
    wait(&two, "the last probe is shown", || {
        let status = two.node(1).status().unwrap_or_default();
        let probe = &status["probes"][0];
        // The last one came over IPv6.
        probe["open"] == true
            && probe["last_from"] == client
            && probe["last_at_milliseconds"].is_u64()
            && is_counted(
                &metrics(&two, 1),
                "forwarder_probes_total{port=\"8086\",answer=\"active\"} ",
            )
            && is_counted(
                &metrics(&two, 1),
                "forwarder_probes_total{port=\"8087\",answer=\"standby\"} ",
            )
    });
    let id = two.node(1).id().cast_signed();
    // SAFETY: no memory is passed; the process is ours and not waited for yet.
    let signal = |signal| unsafe { libc::kill(id, signal) };
    signal(libc::SIGSTOP);
    two.wait_for([Some("active"), None]);
    // Its kernel still has the listening socket.
    let answered = (0..5).any(|_| probe(&two, own(1, Family::V4), 8086, "").is_ok());
    signal(libc::SIGCONT);
    assert!(!answered, "a stopped daemon says yes\n{}", two.diagnosis());
    wait(&two, "the first node says yes again, the second no", || {
        says(&two, 0, true) && says(&two, 1, false)
    });
}

/// A program in the site's directory. Another process writes it: one that this process, or a child of it that
/// was just forked, has open for writing cannot be run.
fn program(directory: &Path, name: &str, text: &str) -> String {
    let (source, path) = (directory.join(format!("{name}.sh")), directory.join(name));
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).expect("a text");
    let mut install = Command::new("install");
    let done = install.args(["-m", "755"]).arg(source).arg(&path).status();
    assert!(done.expect("install runs").success());
    path.display().to_string()
}

/// Which VIPs a node has routes to, of both families.
fn routes(two: &Two, node: usize) -> usize {
    let routes = ["-4", "-6"].map(|family| {
        let mut ip = two.host(node).command("ip");
        let output = ip.args([family, "route", "show", "table", "4747"]).output();
        String::from_utf8_lossy(&output.expect("ip runs").stdout).into_owned()
    });
    let lines = routes.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.starts_with("blackhole ")).count()
}

#[test]
fn programs_and_routes_follow_the_role() {
    let directory = std::env::temp_dir().join(format!("fwd-operate-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let events = directory.join("events");
    let tells = program(
        &directory,
        "tells",
        &format!("cat >> '{}'", events.display()),
    );
    let fails = program(&directory, "fails", "exit 7");
    let services = format!(
        "{}\n[[hook]]\nprogram = \"{tells}\"\n[[hook]]\nprogram = \"{fails}\"\n[routes]\ntable = 4747\n",
        both_services("l2-dsr", |family| family),
    );
    let mut two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    let vip = Family::V4.vip(VIP).to_string();
    let told = |node: &str, role: &str, cause: &str| {
        let text = fs::read_to_string(&events).unwrap_or_default();
        let mut events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.any(|event| {
            let vips = event["vips"].as_array();
            event["event"] == "role"
                && event["node"] == node
                && event["role"] == role
                && event["cause"] == cause
                && event["group"] == "default"
                && vips.is_some_and(|vips| vips.iter().any(|each| *each == *vip))
        })
    };
    wait(&two, "the start is told, and routes are there", || {
        told("lb1", "standby", "started")
            && told("lb2", "standby", "started")
            && routes(&two, 0) == 2
            && routes(&two, 1) == 0
    });
    let (done, text) = run(&two, 0, &["failover"]);
    assert!(done, "{text}");
    wait(&two, "the hand-over is told, and routes have moved", || {
        told("lb1", "releasing", "hand-over")
            && told("lb1", "standby", "taken")
            && told("lb2", "active", "offered")
            && routes(&two, 0) == 0
            && routes(&two, 1) == 2
    });
    wait(&two, "how programs ended is in the history", || {
        let (_, text) = run(&two, 1, &["history", "--kind", "role"]);
        text.contains("exit status 7") && text.contains("exit status 0")
    });
    // Killed: it can tell nobody, and leaves its routes to the next.
    two.nodes[1] = None;
    wait(&two, "the loss is told", || {
        told("lb1", "active", "peer-lost") && routes(&two, 0) == 2
    });
    assert_eq!(routes(&two, 1), 2, "nobody has removed them");
    two.nodes[1] = Some(two.daemon(1, &two.config(&services)));
    two.wait_for([Some("active"), Some("standby")]);
    wait(&two, "the routes that were left are gone", || {
        routes(&two, 0) == 2 && routes(&two, 1) == 0
    });
    fs::remove_dir_all(&directory).expect("clean up");
}
