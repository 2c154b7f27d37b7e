//! A VIP in no subnet of the nodes: BIRD announces the active node's route to it, by BGP.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use forwarder_lab::client::http;
use forwarder_lab::site::{HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Namespace, Process, wait_until};

use super::pair::{LIMIT, Two};
use super::world::{pool, virtual_server};

/// Debian's; a user's `PATH` may lack its directory.
const BIRD: &str = "/usr/sbin/bird";
/// Where the nodes put their routes.
const TABLE: u32 = 4748;
const ANYCAST: Ipv4Addr = Ipv4Addr::new(100, 64, 9, 9);

/// Runs BIRD on a host.
fn bird(two: &Two, host: &Namespace, config: &str) -> Process {
    let at = |end: &str| two.site.directory().join(format!("{}.{end}", host.name()));
    fs::write(at("conf"), config).expect("a file");
    let mut command = host.command(BIRD);
    command.arg("-f").arg("-c").arg(at("conf"));
    command.arg("-s").arg(at("sock")).arg("-P").arg(at("pid"));
    Process::start(command, &at("bird"))
        .expect("BIRD (the package bird2, which `cargo xtask setup` installs)")
}

fn own(node: usize) -> IpAddr {
    match node {
        0 => Family::V4.outside(),
        _ => Family::V4.vip(3),
    }
}

/// A node's: it learns the routes of the table, and tells the router.
fn of_node(node: usize) -> String {
    format!(
        "router id {own};\nprotocol device {{}}\n\
         protocol kernel {{ kernel table {TABLE}; learn; scan time 1; ipv4 {{ import all; export none; }}; }}\n\
         protocol bgp {{ local {own} as {number}; neighbor {router} as 65000; connect delay time 1; connect retry time 1;\n\
         ipv4 {{ import none; export where krt_source = 147; next hop self; }}; }}\n",
        own = own(node),
        number = 65001 + node,
        router = Family::V4.router(),
    )
}

/// The router's: it has what both nodes tell.
fn of_router() -> String {
    let router = Family::V4.router();
    let mut config = format!(
        "router id {router};\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ import none; export all; }}; }}\n"
    );
    for node in 0..2 {
        config += &format!(
            "protocol bgp {{ local {router} as 65000; neighbor {} as {}; connect delay time 1; connect retry time 1;\n\
             ipv4 {{ import all; export none; }}; }}\n",
            own(node),
            65001 + node,
        );
    }
    config
}

/// Where the router sends packets for the VIP.
fn next_hop(two: &Two) -> Option<String> {
    let vip = ANYCAST.to_string();
    let shown = two.site.router.show(&["-4", "route", "show", &vip]).ok()?;
    Some(shown[0]["gateway"].as_str()?.to_owned())
}

#[test]
fn a_router_follows_the_active_node_by_bgp() {
    let snat = "pool = \"web\"\nsnat = \"automap\"";
    let services = virtual_server("web", "full-nat", ANYCAST.into(), HTTP, "tcp", snat)
        + &pool("web", Family::V4, Some(HTTP_REWRITTEN))
        + &format!("[routes]\ntable = {TABLE}\n");
    let two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    let birds = [
        bird(&two, two.host(0), &of_node(0)),
        bird(&two, two.host(1), &of_node(1)),
        bird(&two, &two.site.router, &of_router()),
    ];
    let served_by = |node: usize| {
        let server = SocketAddr::new(ANYCAST.into(), HTTP);
        let get = || {
            two.site
                .client
                .run(|| http::get(server, "/", LIMIT))
                .is_ok()
        };
        let by = own(node).to_string();
        wait_until("the route, and an answer", LIMIT, || {
            next_hop(&two).as_ref() == Some(&by) && get()
        })
        .unwrap_or_else(|error| {
            let said = birds.iter().map(Process::output).collect::<Vec<_>>();
            panic!(
                "{error:#}: {by}, not {:?}\n{}\n{}",
                next_hop(&two),
                said.join("\n"),
                two.diagnosis()
            )
        });
    };
    served_by(0);
    two.run(0, &["failover"]);
    two.wait_for([Some("standby"), Some("active")]);
    served_by(1);
    two.run(1, &["maintenance", "on"]);
    two.wait_for([Some("active"), Some("standby")]);
    served_by(0);
}
