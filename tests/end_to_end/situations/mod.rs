//! `forwarder trace` in situations in which something is broken: the right reason, and a step that helps.

mod addressed;
mod backends;
mod flows;
mod interfaces;
mod last_drop;

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

/// Waits until packets are traced as expected, one situation after the other.
fn expect_all(forwarder: &Forwarder, situations: &[Situation<'_>]) {
    for situation in situations {
        expect(forwarder, *situation);
    }
}

/// Waits until a packet is traced as expected, as data and as text: states take time to be seen, and not all
/// parts of one are seen at once.
fn expect(forwarder: &Forwarder, situation: Situation<'_>) {
    let (packet, ..) = situation;
    let mut last = Ok(String::new());
    wait_until("the trace is as expected", LIMIT, || {
        last = traced(forwarder, situation);
        last.is_ok()
    })
    .unwrap_or_else(|error| {
        let seen = last.as_ref().err().cloned().unwrap_or_default();
        panic!("{error}: {packet}\n{seen}\n{}", forwarder.log())
    });
    let people = last.unwrap_or_default();
    println!("$ forwarder trace \"{packet}\"\n{people}");
}

/// What people see of a packet, or how it is not as expected.
fn traced(
    forwarder: &Forwarder,
    (packet, reason, says, command): Situation<'_>,
) -> Result<String, String> {
    let (trace, code) = json(forwarder, packet);
    let outcome = if reason.starts_with("drop-") {
        DROPPED
    } else {
        GOES_ON
    };
    let step = &trace["next"][0];
    let text = step["text"].as_str().unwrap_or_default();
    let matches = trace["reason"] == reason
        && code == Some(outcome)
        && says.iter().all(|part| text.contains(part))
        && step["command"].as_str().unwrap_or_default() == command;
    if !matches {
        return Err(format!(
            "{reason} and {says:?} and \"{command}\" were expected; exit code {code:?}\n{trace:#}"
        ));
    }
    let output = run(forwarder, packet, &[]);
    let people = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = unwrapped(&people);
    let missing = [reason, text, command]
        .map(unwrapped)
        .into_iter()
        .find(|part| !words.contains(part));
    match missing {
        Some(part) => Err(format!("no \"{part}\" in\n{people}")),
        None => Ok(people),
    }
}

/// The words of a text, however its lines are broken.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The trace as data, or what went wrong, and the exit code.
fn json(forwarder: &Forwarder, packet: &str) -> (Value, Option<i32>) {
    let output = run(forwarder, packet, &["-o", "json"]);
    let trace = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    (trace, output.status.code())
}

fn run(forwarder: &Forwarder, packet: &str, more: &[&str]) -> Output {
    let words = [&["trace", packet], more].concat();
    forwarder.run(&words).expect("run the program")
}

fn start(site: &forwarder_lab::Site, config: &str) -> Forwarder {
    Forwarder::start(binary(), &site.forwarder, site.directory(), config)
        .unwrap_or_else(|error| panic!("{error:#}\nwith this configuration:\n{config}"))
}
