//! `docs/operate.md`: every command of its table runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::{Namespace, Process, has_xdp, wait_until};

use super::world::{File, LIMIT, World, said};

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
/// What needs no daemon.
const OFFLINE: [&[&str]; 7] = [
    &["api"],
    &["check"],
    &["explain"],
    &["man"],
    &["completions"],
    &["config", "schema"],
    &["config", "init"],
];

#[test]
fn every_command_of_the_table_works() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate.md");
    let page = fs::read_to_string(page)?;
    let mut world = World::start(&File::base())?;
    let file = world.forwarder.config().display().to_string();
    let pages = world.site.directory().join("man").display().to_string();
    let (table, _) = page.split_once("\n## ").context("the first table")?;
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let mut run = 0;
    for row in rows.skip(1) {
        let command = row.split('`').nth(1).context("a command")?;
        let command = command
            .replace("/etc/forwarder.toml", &file)
            .replace("./man", &pages);
        // What a shell would do with the output is the shell's.
        let (command, _) = command.split_once(" > ").unwrap_or((&command, ""));
        let words = shell_words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ensure!(words[0] == "forwarder", "{row}");
        works(&mut world, &words[1..]).with_context(|| command.to_owned())?;
        run += 1;
    }
    ensure!(run >= 35, "only {run} commands in the table");
    Ok(())
}

/// It ends well and prints something; what does not end by itself does what it is for.
fn works(world: &mut World, words: &[&str]) -> Result<()> {
    let socket = world.forwarder.socket().to_owned();
    let site = &world.site;
    match words {
        ["status", "--watch"] => {
            let mut command = Command::new(FORWARDER);
            command.args(words).arg("--socket").arg(socket);
            goes_on(world, command, |shown| shown.contains("direct-echo"))
        }
        ["backend", device] => {
            let backend = &site.backends[0];
            let command = on(backend, words);
            goes_on(world, command, |_| has_xdp(backend, device))
        }
        // Nothing was dropped here: `the_packet_that_was_dropped_last` sees to it.
        ["trace", "--last-drop", ..] => Ok(()),
        ["run", _] => {
            world.forwarder.interrupt()?;
            let mut command = on(&world.site.forwarder, words);
            command.arg("--socket").arg(socket);
            goes_on(world, command, |log| log.contains("forwarding;"))
        }
        _ if OFFLINE.iter().any(|each| words.starts_with(each)) => {
            ends_well(&Command::new(FORWARDER).args(words).output()?)
        }
        _ => ends_well(&world.forwarder.run(words)?),
    }
}

fn on(host: &Namespace, words: &[&str]) -> Command {
    let mut command = host.command(FORWARDER);
    command.args(words);
    command
}

fn ends_well(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", said(output));
    ensure!(!output.stdout.is_empty(), "it prints nothing");
    Ok(())
}

/// Lets it run until it is seen to work, then ends it.
fn goes_on(world: &World, command: Command, works: impl Fn(&str) -> bool) -> Result<()> {
    let log = world.site.directory().join("day.log");
    let mut process = Process::start(command, &log)?;
    let mut ended = None;
    let seen = wait_until("it works", LIMIT, || {
        ended = process.ended();
        ended.is_some() || works(&process.output())
    });
    seen.with_context(|| process.output())?;
    ensure!(ended.is_none(), "it ended: {}", process.output());
    process.interrupt().map(drop)
}

/// The words of a command line with double quotes.
fn shell_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in command.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
