//! The lab itself, without a forwarder: plain routing between its hosts.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use forwarder_lab::client::{http, icmp, udp};
use forwarder_lab::site::{BACKENDS, ECHO, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Lab, Site, wait_until};

const SOON: Duration = Duration::from_secs(120);

/// Answers of the backends must not need the forwarder, which is not running.
fn site() -> Site {
    let vips = Family::ALL.map(|family| family.vip(10));
    let site = Site::new(&vips, &Family::ALL.map(|family| family.vip(11))).expect("build the site");
    // Backends answer by the router here.
    for backend in &site.backends {
        backend
            .ip("route replace 0.0.0.0/0 via 192.0.2.1\nroute replace ::/0 via 2001:db8:2::1")
            .expect("routes");
    }
    site
}

#[test]
fn clients_reach_servers_by_plain_routing() {
    let site = site();
    for family in Family::ALL {
        for (index, name) in (0..).zip(BACKENDS) {
            let web = SocketAddr::new(family.backend(index), HTTP_REWRITTEN);
            let answer = site.client.run(|| http::get(web, "/", SOON)).expect("http");
            assert_eq!(answer.backend, name);
            assert!(answer.client_address_kept(), "{answer:?}");
            assert_eq!(answer.client, answer.local);
            let echo = SocketAddr::new(family.backend(index), ECHO);
            for length in [0, 1400, 4000] {
                let answer = site
                    .client
                    .run(|| udp::request(echo, length, SOON))
                    .expect("udp");
                assert_eq!(
                    (answer.backend.as_str(), answer.client),
                    (name, answer.local)
                );
            }
        }
        site.client
            .run(|| icmp::ping(family.outside(), SOON))
            .expect("ping");
    }
}

#[test]
fn bytes_are_checked_both_ways() {
    let site = site();
    let web = SocketAddr::new(Family::V4.backend(0), HTTP);
    site.client.run(|| {
        let mut connection = http::Connection::open(web, SOON).expect("open");
        connection.download(3_000_001).expect("download");
        connection.upload(3_000_001).expect("upload");
        connection
            .get("/again")
            .expect("the connection is kept alive");
    });
}

#[test]
fn health_and_death_are_seen_by_clients() {
    let mut site = site();
    let web = SocketAddr::new(Family::V6.backend(1), HTTP);
    let health = |site: &Site| site.client.run(|| http::get(web, "/health", SOON)).is_ok();
    assert!(health(&site));
    site.server(1).expect("runs").set_health(503);
    assert!(!health(&site));
    site.server(1).expect("runs").set_health(200);
    site.connect(1, false).expect("cut");
    let short = Duration::from_millis(300);
    assert!(site.client.run(|| http::get(web, "/", short)).is_err());
    site.connect(1, true).expect("mend");
    site.backends[1]
        .ip("route replace ::/0 via 2001:db8:2::1")
        .expect("route");
    wait_until("the backend is back", SOON, || health(&site)).expect("back");
    site.stop_server(1);
    assert!(!health(&site));
}

#[test]
fn nothing_is_left_behind() {
    let site = site();
    let (prefix, directory) = (site.lab().prefix().to_owned(), site.directory().to_owned());
    let ours = |directory: &str| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count()
    };
    assert_eq!(ours("/run/netns"), 7);
    assert!(directory.exists());
    let mut sleeper = site
        .client
        .command("sleep")
        .arg("1000")
        .spawn()
        .expect("sleep");
    drop(site);
    assert_eq!(ours("/run/netns"), 0);
    assert!(!directory.exists());
    assert!(
        !sleeper.wait().expect("wait").success(),
        "the lab's processes are ended"
    );
}

#[test]
fn what_a_dead_run_left_is_swept_and_others_are_not() {
    let dead = std::process::Command::new("true")
        .spawn()
        .and_then(|mut child| {
            let id = child.id();
            child.wait().map(|_| id)
        });
    let dead = format!("fwd-{}-0-left", dead.expect("a process that has ended"));
    let living = format!("fwd-1-0-living{}", std::process::id());
    let foreign = format!("fwd-x{}", std::process::id());
    let ip = |action: &str, name: &str| {
        let status = std::process::Command::new("ip")
            .args(["netns", action, name])
            .status();
        assert!(status.expect("ip runs").success());
    };
    for name in [&dead, &living, &foreign] {
        ip("add", name);
    }
    let lab = Lab::new();
    // Another lab may be about to remove the same.
    let exists = |name: &String| Path::new("/run/netns").join(name).exists();
    let swept = wait_until("the dead run's is swept", SOON, || !exists(&dead));
    let found = [&living, &foreign].map(exists);
    for name in [&living, &foreign] {
        ip("delete", name);
    }
    lab.expect("make a lab");
    swept.expect("swept");
    assert_eq!(found, [true, true]);
}
