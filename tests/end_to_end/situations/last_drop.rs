//! The packet that was dropped last, of real ones.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Output;
use std::time::Duration;

use forwarder_lab::client::http;
use forwarder_lab::{Family, Forwarder, Site, wait_until};
use serde_json::Value;

use super::super::world::{HEADER, LIMIT, pool, site, virtual_server};
use super::{DROPPED, GOES_ON, start};

/// The exit code when nothing was dropped.
const NO_DROP: i32 = 4;
/// What nobody but the two ends should see.
const SECRET: &str = "correct horse battery staple";

fn config(denied: &str) -> String {
    let vip = |number| Family::V4.vip(number);
    let deny = format!("pool = \"web\"\ndeny = [\"{denied}\"]");
    HEADER.to_owned()
        + &pool("web", Family::V4, None)
        + &virtual_server("web", "l2-dsr", vip(10), 80, "tcp", &deny)
        + &virtual_server("dns", "l2-dsr", vip(11), 53, "udp", &deny)
}

fn ask(forwarder: &Forwarder, more: &[&str]) -> Output {
    let words = [&["trace", "--last-drop"], more].concat();
    forwarder.run(&words).expect("run the program")
}

/// The trace as data, or what went wrong, and the exit code.
fn json(forwarder: &Forwarder, more: &[&str]) -> (Value, Option<i32>) {
    let output = ask(forwarder, &[more, &["-o", "json"]].concat());
    let trace = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    (trace, output.status.code())
}

/// Waits for a trace with all that is expected of it.
fn wait_for(forwarder: &Forwarder, what: &str, expected: impl Fn(&Value, Option<i32>) -> bool) {
    let (mut last, mut code) = (Value::Null, None);
    wait_until(what, LIMIT, || {
        (last, code) = json(forwarder, &[]);
        expected(&last, code)
    })
    .unwrap_or_else(|error| panic!("{error}\n{last:#}\n{code:?}\n{}", forwarder.diagnosis()));
}

/// Sends from the client until the forwarder has dropped it for the reason.
fn drop_one(site: &Site, forwarder: &Forwarder, reason: &str, send: impl Fn() + Sync) {
    wait_until("it is dropped", LIMIT, || {
        site.client.run(&send);
        ask(forwarder, &["--reason", reason]).status.code() != Some(NO_DROP)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", forwarder.diagnosis()));
}

#[test]
fn the_packet_that_was_dropped_last() {
    let site = site();
    let client = Family::V4.client();
    let forwarder = start(&site, &config("198.51.100.0/24"));
    let none = ask(&forwarder, &[]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(NO_DROP), "{said}");
    assert!(said.contains("no packet was dropped"), "{said}");
    let unknown = ask(&forwarder, &["--reason", "drop-everything"]);
    assert_eq!(unknown.status.code(), Some(2));

    // It is dropped, and would be again.
    let web = SocketAddr::new(Family::V4.vip(10), 80);
    drop_one(&site, &forwarder, "drop-denied", || {
        let _ = http::get(web, "/", Duration::from_millis(200));
    });
    wait_for(&forwarder, "it is traced", |trace, code| {
        let dropped = &trace["dropped"];
        let packet = trace["packet"].as_str().unwrap_or_default();
        code == Some(DROPPED)
            && trace["reason"] == "drop-denied"
            && trace["virtual_server"] == "web"
            && packet.starts_with(&format!("tcp {client}:"))
            && packet.contains(&format!("-> {web} syn"))
            && dropped["reason"] == "drop-denied"
            && dropped["interface"] == "outside"
            && dropped["packet"] == packet
            && dropped["bytes"] == dropped["kept"]
    });
    let people = ask(&forwarder, &["--reason", "drop-denied"]);
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    println!("$ forwarder trace --last-drop --reason drop-denied\n{people}");
    for part in [
        "ago on outside: drop-denied",
        &format!("-> {web} syn"),
        "So it was when the packet was dropped.",
    ] {
        assert!(people.contains(part), "no \"{part}\" in\n{people}");
    }
    let other = ask(&forwarder, &["--reason", "drop-ttl"]);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(NO_DROP), "{said}");
    assert!(said.contains("others were: drop-denied"), "{said}");

    // A payload stays in the daemon.
    let dns = SocketAddr::new(Family::V4.vip(11), 53);
    let mut last = Value::Null;
    wait_until("the datagram is what was dropped last", LIMIT, || {
        site.client.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            // Nobody answers; a refusal by ICMP would be no matter either.
            let _ = socket.send_to(SECRET.as_bytes(), dns);
        });
        last = json(&forwarder, &[]).0;
        last["virtual_server"] == "dns"
    })
    .unwrap_or_else(|error| panic!("{error}\n{last:#}\n{}", forwarder.diagnosis()));
    let mut drops = String::new();
    wait_until("the views have it", LIMIT, || {
        let output = forwarder.run(&["drops", "-o", "json"]).expect("run");
        drops = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows: Value = serde_json::from_str(&drops).unwrap_or_default();
        rows.as_array().into_iter().flatten().any(|row| {
            let packet = row["last"]["packet"].as_str().unwrap_or_default();
            row["interface"] == "outside"
                && row["reason"] == "drop-denied"
                && packet.starts_with(&format!("udp {client}:"))
        })
    })
    .unwrap_or_else(|error| panic!("{error}\n{drops}\n{}", forwarder.diagnosis()));
    let people = String::from_utf8_lossy(&ask(&forwarder, &[]).stdout).into_owned();
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    for text in [last.to_string(), people, drops, forwarder.log()] {
        assert!(!text.contains(SECRET) && !text.contains(&hex), "{text}");
    }

    // It would be forwarded now.
    fs::write(forwarder.config(), config("10.0.0.0/8")).expect("write");
    let path = forwarder.config().display().to_string();
    let reload = forwarder.run(&["reload", &path]).expect("run");
    assert!(reload.status.success(), "{reload:?}\n{}", forwarder.log());
    wait_for(&forwarder, "it would be forwarded", |trace, code| {
        let step = &trace["next"][0];
        let text = step["text"].as_str().unwrap_or_default();
        code == Some(GOES_ON)
            && trace["reason"] == "l2-dsr"
            && trace["dropped"]["reason"] == "drop-denied"
            && text.contains("as drop-denied, and would now end as l2-dsr")
            && step["command"] == "forwarder history"
    });
}
