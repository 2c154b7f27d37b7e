//! `cargo xtask demo`: real clients reach real servers through VIPs that XDP forwards, in every mode.

#![expect(clippy::disallowed_methods, reason = "it plays in real time")]

mod case;
mod failover;
mod loss;
mod screen;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use forwarder_lab::site::BACKENDS;
use forwarder_lab::{Family, Forwarder, Site, decapsulate, is_interrupted, wait_until};
use serde::Serialize;

use self::case::{Case, Outcome, Protocol};
use self::failover::{Failover, Pair};
use self::loss::Loss;
use self::screen::Screen;
use crate::command::{cargo, executable};
use crate::kernel;
use crate::setup::{self, Purpose};

const CONFIG: &str = include_str!("demo/demo.toml");

/// Watch every mode forward real traffic between network namespaces (as root; installs what is missing)
#[derive(Args)]
pub struct Options {
    /// End with a line that is one JSON object
    #[arg(long)]
    json: bool,
    /// Keep everything running until Ctrl-C, to look around
    #[arg(long)]
    keep: bool,
}

/// What the demo has shown, as JSON.
#[derive(Serialize)]
struct Report {
    ok: bool,
    cases: Vec<Outcome>,
    backend_loss: Loss,
    failover: Vec<Failover>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let result = show(options);
    while is_interrupted() {
        // What fails now failed because everything is being removed; the process ends by itself.
        thread::park();
    }
    result
}

fn show(options: &Options) -> Result<ExitCode> {
    kernel::require()?;
    setup::ensure(&[Purpose::Build, Purpose::Demo])?;
    let mut build = cargo(["build", "--locked", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let screen = Screen::new();
    let start = Instant::now();

    screen
        .title("A client, a forwarder and three backends, each in a network namespace of its own");
    screen.picture();
    let site = Site::new(
        &case::vips(|mode| mode.ends_with("dsr")),
        &case::vips(|mode| mode == "local"),
    )?;
    let decapsulators: Result<Vec<_>> = site
        .backends
        .iter()
        .map(|backend| decapsulate(&binary, backend, "eth0", site.directory()))
        .collect();
    let _decapsulators = decapsulators?;
    let forwarder = Forwarder::start(&binary, &site.forwarder, site.directory(), CONFIG)?;
    screen.note(&format!("configuration: {}", forwarder.config().display()));
    screen.note("XDP runs on eth0 and eth1; the forwarder's kernel itself forwards nothing");
    wait_for_backends(&site);

    let mut report = play(&site, &forwarder, &screen)?;
    screen.title("Two nodes: one is active, the other takes over");
    let mut pair = Pair::start(&binary)?;
    screen.pair();
    report.failover = pair.play(|failover| screen.failover(failover))?;
    report.ok &= report.failover.iter().all(Failover::ok);
    let good = report.cases.iter().filter(|outcome| outcome.ok()).count();
    screen.summary(
        report.ok,
        &format!(
            "{good} of {} cases as they should be, in {:.0} s",
            report.cases.len(),
            start.elapsed().as_secs_f64()
        ),
    );
    if !report.ok {
        screen.command("forwarder log", &forwarder.log());
        screen.command("the pair's nodes", &pair.nodes().diagnosis());
    }
    if options.keep {
        explain(&screen, &site, &binary, &forwarder);
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    if options.keep {
        loop {
            thread::park();
        }
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The first health checks and neighbours take a moment. Whoever is not there then is seen in the cases.
fn wait_for_backends(site: &Site) {
    let timeout = Duration::from_millis(500);
    let answers = |case: &Case| case.protocol.request(case.server, timeout).is_ok();
    let cases: Vec<_> = case::all()
        .into_iter()
        .filter(|case| case.protocol == Protocol::Tcp)
        .collect();
    site.client.run(|| {
        for family in Family::ALL {
            let mut pending: Vec<_> = cases.iter().filter(|case| case.family == family).collect();
            let _ = wait_until(
                "every virtual server answers",
                Duration::from_secs(5),
                || {
                    pending.retain(|case| !answers(case));
                    pending.is_empty()
                },
            );
        }
    });
}

/// The cases, a trace, and the death of a backend.
fn play(site: &Site, forwarder: &Forwarder, screen: &Screen) -> Result<Report> {
    screen.title("Every mode, family and protocol: 200 requests each, every one from a new port");
    screen.header();
    let mut cases = Vec::new();
    for case in case::all() {
        let outcome = case.run(site);
        screen.case(&outcome);
        cases.push(outcome);
    }
    screen.note("full-nat: the forwarder's own address; local: its own host is the server");

    let server = Family::V4.vip(15);
    screen.title("What would become of a packet? The loaded program tells, and changes nothing");
    let packet = format!("tcp {}:12345 -> {server}:80 --in eth0", Family::V4.client());
    let trace = forwarder.trace(&packet);
    let traced = trace.is_ok();
    let text = trace.unwrap_or_else(|error| format!("{error:#}"));
    screen.command(&format!("forwarder trace {packet:?}"), &text);

    let victim = BACKENDS[loss::VICTIM];
    screen.title(&format!(
        "{victim} dies under load: 200 new connections a second, a client gives up after {:?}",
        loss::PATIENCE
    ));
    let (requests, death) = loss::run(site, (server, 80).into())?;
    screen.timeline(&BACKENDS, &requests, death);
    let backend_loss = Loss::new(&requests, death);
    screen.loss(&backend_loss, victim);
    let ok = cases.iter().all(Outcome::ok) && traced && backend_loss.recovered();
    Ok(Report {
        ok,
        cases,
        backend_loss,
        failover: Vec::new(),
    })
}

fn explain(screen: &Screen, site: &Site, binary: &Path, forwarder: &Forwarder) {
    screen.title("Everything keeps running until Ctrl-C. In another terminal, as root:");
    let client = site.client.name();
    let vip = Family::V4.vip(15);
    for line in [
        format!("nsenter --net=/run/netns/{client} curl -s http://{vip}/"),
        format!("ip -n {} link show eth0", site.forwarder.name()),
        format!(
            "{} status --socket {}",
            binary.display(),
            forwarder.socket().display()
        ),
    ] {
        screen.note(&line);
    }
}
