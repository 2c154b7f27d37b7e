//! `forwarder trace` in situations in which something is broken: the right reason, and a step that helps.

mod addressed;
mod backends;
mod flows;
mod interfaces;

use std::process::Output;

use forwarder_lab::Forwarder;
use forwarder_lab::wait_until;
use serde_json::Value;

use super::world::{LIMIT, binary};

/// Exit codes of `trace`.
const GOES_ON: i32 = 0;
const NOT_TRACED: i32 = 1;
const DROPPED: i32 = 3;

/// A situation: the packet, its reason, words of the first step, and of the command to type.
type Situation<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

/// Traces a packet in every situation, as data and as text.
fn expect_all(forwarder: &Forwarder, situations: &[Situation<'_>]) {
    for situation in situations {
        expect(forwarder, *situation);
    }
}

fn expect(forwarder: &Forwarder, (packet, reason, says, command): Situation<'_>) {
    let (trace, code) = json(forwarder, packet);
    let shown = format!("{packet}\n{trace:#}\n{}", forwarder.log());
    assert_eq!(trace["reason"], reason, "{shown}");
    let expected = if reason.starts_with("drop-") {
        DROPPED
    } else {
        GOES_ON
    };
    assert_eq!(code, Some(expected), "{shown}");
    let step = &trace["next"][0];
    let text = step["text"].as_str().expect("a step's text");
    for part in says {
        assert!(
            text.contains(part),
            "no \"{part}\" in the first step\n{shown}"
        );
    }
    assert_eq!(step["command"].as_str().unwrap_or(""), command, "{shown}");

    let output = run(forwarder, packet, &[]);
    let people = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("$ forwarder trace \"{packet}\"\n{people}");
    let people = people.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [reason, text, command] {
        assert!(people.contains(part), "no \"{part}\" in\n{people}");
    }
}

/// The trace as data, and the exit code.
fn json(forwarder: &Forwarder, packet: &str) -> (Value, Option<i32>) {
    let output = run(forwarder, packet, &["-o", "json"]);
    let trace = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{packet}: {error}: {output:?}\n{}", forwarder.log()));
    (trace, output.status.code())
}

fn run(forwarder: &Forwarder, packet: &str, more: &[&str]) -> Output {
    let words = [&["trace", packet], more].concat();
    forwarder.run(&words).expect("run the program")
}

/// Waits until a packet's first step says something: states take time to be seen.
fn wait_for_step(forwarder: &Forwarder, packet: &str, says: &str) {
    let mut last = Value::Null;
    wait_until("the first step says so", LIMIT * 2, || {
        last = json(forwarder, packet).0;
        last["next"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains(says))
    })
    .unwrap_or_else(|error| {
        panic!(
            "{error}: \"{says}\" for {packet}\n{last:#}\n{}",
            forwarder.log()
        )
    });
}

fn start(site: &forwarder_lab::Site, config: &str) -> Forwarder {
    Forwarder::start(binary(), &site.forwarder, site.directory(), config)
        .unwrap_or_else(|error| panic!("{error:#}\nwith this configuration:\n{config}"))
}
