//! A pair whose active node runs under the unit file.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::client::http;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Forwarder, Namespace, wait_until};

use super::machine::LIMIT;
use super::unit::{FORWARDER, Service, config};

/// The node under the unit, and its peer beside it.
struct Pair {
    peer: Forwarder,
    _host: Namespace,
    service: Service,
}

impl Pair {
    fn start() -> Result<Self> {
        let service = Service::install()?;
        let site = &service.0.site;
        let host = site.lab().host("peer")?;
        let at = |address: IpAddr| [Family::V4.in_subnet(address)];
        let family = Family::V4;
        site.plug(&host, "eth0", site.outside, &at(family.vip(3)))?;
        site.plug(&host, "eth1", site.inside, &at(family.backend(20)))?;
        let route = format!("route replace 0.0.0.0/0 via {}", family.router());
        host.ip(&route)?;
        service.run("forwarder peer keygen /files/pair.key")?;
        let directory = site.directory().join("peer");
        fs::create_dir(&directory)?;
        let key = service.0.files().join("pair.key");
        let peers = file(&key.display().to_string());
        service.write(&file("/etc/pair.key"))?;
        let grants = if Priority::here() == Priority::Capability {
            "AmbientCapabilities=CAP_SYS_NICE\\nCapabilityBoundingSet=CAP_SYS_NICE\\n"
        } else {
            ""
        };
        service.run(&format!(
            "install -m 600 -o forwarder -g forwarder /files/pair.key /etc/pair.key\n\
             install -m 640 -g forwarder /files/forwarder.toml /etc/\n\
             mkdir -p /etc/systemd/system/forwarder.service.d\n\
             printf '[Service]\\nExecStart=\\nExecStart=/usr/local/bin/forwarder run --node lb1 --pin /etc/forwarder.toml\\n{grants}' \
             > /etc/systemd/system/forwarder.service.d/node.conf\n\
             systemctl daemon-reload\n\
             systemctl restart forwarder",
        ))?;
        let node = |command: &mut Command| {
            command.args(["--node", "lb2"]);
        };
        let binary = std::path::Path::new(FORWARDER);
        let peer = Forwarder::start_with(binary, &host, &directory, &peers, node)?;
        Ok(Self {
            peer,
            _host: host,
            service,
        })
    }

    /// Waits until the node under the unit has one role, and its peer the other; both able to take over.
    fn wait(&self, own: &str, peers: &str) -> Result<()> {
        let as_wanted = || -> Result<bool> {
            let own_status = self.service.run("forwarder status -o json")?;
            let own_status: serde_json::Value = serde_json::from_str(&own_status)?;
            let peer_status = self.peer.status()?;
            let sides = [(&own_status, own, peers), (&peer_status, peers, own)];
            Ok(sides.iter().all(|(status, role, other)| {
                let pair = &status["pair"];
                let paths = pair["paths"].as_array();
                pair["role"] == **role
                    && pair["health"] == "sound"
                    && pair["peer"]["role"] == **other
                    && pair["peer"]["health"] == "sound"
                    && paths.is_some_and(|all| all.iter().all(|path| path["state"] == "up"))
                    && !status.to_string().contains("\"down\"")
                    && !status.to_string().contains("\"checking\"")
                    && !status.to_string().contains("\"next_hop\":null")
            }))
        };
        wait_until("the roles", LIMIT, || as_wanted().unwrap_or(false)).with_context(|| {
            format!(
                "{own}/{peers}\n{}\n{}",
                self.service.0.diagnosis(),
                self.peer.diagnosis()
            )
        })
    }
}

fn file(key: &str) -> String {
    let family = Family::V4;
    let path = |own: IpAddr, other: IpAddr| {
        format!("{{ address = {{ lb1 = \"{own}\", lb2 = \"{other}\" }} }}")
    };
    let paths = [
        path(family.outside(), family.vip(3)),
        path(family.inside(), family.backend(20)),
    ]
    .join(", ");
    let pair = format!(
        "node = [{{ name = \"lb1\" }}, {{ name = \"lb2\" }}]\n\
         pair = {{ key_file = \"{key}\", interval = \"500ms\", priority = {{ lb1 = 200, lb2 = 100 }}, path = [{paths}] }}\n\
         interface"
    );
    let floating = format!(
        "device = \"eth1\", floating_address = \"{}\"",
        family.backend(31)
    );
    config("")
        .replacen("interface", &pair, 1)
        .replacen("device = \"eth1\"", &floating, 1)
}

#[test]
fn a_pairs_node_has_its_priority_and_restarts_without_loss() -> Result<()> {
    let pair = Pair::start()?;
    let service = &pair.service;
    pair.wait("active", "standby")?;
    has_priority(service)?;
    let web = SocketAddr::new(Family::V4.vip(10), HTTP);
    let over = AtomicBool::new(false);
    let requests = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            service.0.site.client.run(|| -> Result<u32> {
                let mut connection = http::Connection::open(web, LIMIT)?;
                let mut requests = 0;
                while !over.load(Ordering::Relaxed) {
                    connection.get("/").context("the old connection lives")?;
                    http::get(web, "/", LIMIT).context("a new one does")?;
                    requests += 1;
                }
                Ok(requests)
            })
        });
        // It hands over before it ends, and comes back as standby.
        let restarted = service
            .run("systemctl restart forwarder")
            .and_then(|_| pair.wait("standby", "active"));
        over.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("the client");
        restarted.and(asked)
    })?;
    ensure!(requests > 0, "nothing was asked");
    let history = pair.peer.run(&["history", "--kind", "role"])?;
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    ensure!(history.contains("the peer offered it"), "{history}");
    // What an operator has said outlives a restart.
    service.run("forwarder maintenance on; systemctl restart forwarder")?;
    service.0.wait("it is in maintenance still", || {
        let status = service.run("forwarder status -o json")?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(status["pair"]["maintenance"] == true)
    })?;
    service.run("forwarder maintenance off").map(drop)
}

/// What makes real-time priority possible on this machine.
#[derive(PartialEq)]
enum Priority {
    /// What the unit asks for: a resource limit, which only some may raise.
    Limit,
    /// A capability in its place. So it is shown at least that nothing else of the unit is in the way.
    Capability,
    /// Nothing.
    None,
}

impl Priority {
    fn here() -> Self {
        let works = |program: &str, option: &[&str]| {
            let run = Command::new(program).args(option).arg("true").output();
            run.is_ok_and(|output| output.status.success())
        };
        if works("prlimit", &["--rtprio=10"]) {
            Self::Limit
        } else if works("chrt", &["-r", "10"]) {
            println!("RLIMIT_RTPRIO can't be raised here: CAP_SYS_NICE stands in for it");
            Self::Capability
        } else {
            println!("nobody has real-time priority here: not looked for");
            Self::None
        }
    }
}

/// The thread that keeps the lease goes before ordinary ones: SCHED_RR (2), which `stat` in proc(5) has as the
/// 41st field, after the priority.
fn has_priority(service: &Service) -> Result<()> {
    if Priority::here() == Priority::None {
        return Ok(());
    }
    let threads = service.run(&format!("cat /proc/{}/task/*/stat", service.pid()?))?;
    let thread = threads.lines().find(|line| line.contains(" (pair) "));
    let thread = thread.context(threads.clone())?;
    let fields: Vec<_> = thread.split_whitespace().collect();
    ensure!(fields[39..41] == ["10", "2"], "{thread}");
    Ok(())
}
