//! `cargo xtask bench scale`: 4,096 virtual servers over 64 pools of 64 backends, under load: what starting,
//! reloading and looking at it takes.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod report;
mod site;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use forwarder_lab::{Forwarder, Traffic, Usage};

use self::report::{Report, Step};
use self::site::{Farm, Shape};
use super::output::Output;
use crate::command::{cargo, executable};

/// Start, reload and look at 4,096 virtual servers with 4,096 backends, under load
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    output: Output,
    /// How often each is done; the table has the median
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(options.rounds > 0, "nothing is to be done");
    let mut build = cargo(["build", "--locked", "--release", "--package", "forwarder"]);
    let binary = executable(&mut build, "forwarder")?;
    let shape = Shape::FULL;
    let farm = Farm::build()?;
    let mut steps = Vec::new();

    let text = shape.config(None);
    let begin = Instant::now();
    let host = &farm.site.forwarder;
    let forwarder = Forwarder::start(&binary, host, farm.site.directory(), &text)?;
    steps.push(Step::once("start, until it forwards", begin.elapsed()));
    farm.wait_until_ready(&forwarder)?;
    steps.push(Step::once(
        "start, until every backend is checked",
        begin.elapsed(),
    ));
    let started = Usage::of(forwarder.id())?;

    let traffic = Traffic::start(&farm.site.client, &shape.web(), &shape.echo())?;
    let mut measure = |name, mut work: Box<dyn FnMut(usize) -> Result<()> + '_>| -> Result<()> {
        let mut times = Vec::new();
        for round in 0..options.rounds {
            let begin = Instant::now();
            work(round).context(name).with_context(|| forwarder.log())?;
            times.push(begin.elapsed());
            traffic.turn_over()?;
        }
        steps.push(Step::new(name, times));
        Ok(())
    };
    let command = |words: &[&str]| -> Result<usize> {
        let output = forwarder.run(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "forwarder {words:?}: {said}");
        Ok(output.stdout.len())
    };
    let file = forwarder.config().to_owned();
    let path = file.to_str().context("a path")?;
    let (mut status, mut metrics) = (0, 0);
    measure(
        "reload, one backend's weight changed",
        Box::new(|round| {
            std::fs::write(&file, shape.config(Some(round % 2)))?;
            command(&["reload"]).map(drop)
        }),
    )?;
    measure(
        "reload, nothing changed",
        Box::new(|_| command(&["reload"]).map(drop)),
    )?;
    measure("plan", Box::new(|_| command(&["plan", path]).map(drop)))?;
    measure(
        "pool drain, pool enable",
        Box::new(|round| {
            let action = ["drain", "enable"][round % 2];
            command(&["pool", action, "pool7", "b7"]).map(drop)
        }),
    )?;
    measure(
        "status -o json",
        Box::new(|_| {
            status = command(&["status", "-o", "json"])?;
            Ok(())
        }),
    )?;
    measure(
        "metrics",
        Box::new(|_| {
            // A page is made once a second at most.
            std::thread::sleep(Duration::from_millis(1100));
            metrics = command(&["metrics"])?;
            Ok(())
        }),
    )?;
    for step in &mut steps {
        if step.name == "metrics" {
            step.less(Duration::from_millis(1100));
        }
    }
    let tally = traffic.end()?;
    let report = Report::new(
        steps,
        started,
        Usage::of(forwarder.id())?,
        &tally,
        status,
        metrics,
    );
    report.print();
    options.output.end(&report, report.ok())
}
