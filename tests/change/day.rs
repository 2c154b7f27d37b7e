//! `docs/operate.md`: every command of its table runs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::world::{File, World, said};

/// Commands of the table that another test runs, or that run for as long as they are let.
const ELSEWHERE: [&str; 4] = [
    "forwarder run ",
    "forwarder backend ",
    "forwarder status --watch",
    "forwarder trace --last-drop",
];

#[test]
fn every_command_of_the_table_works() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate.md");
    let page = fs::read_to_string(page)?;
    let world = World::start(&File::base())?;
    let file = world.forwarder.config().to_owned();
    let file = file.to_str().context("a path")?;
    let (table, _) = page.split_once("\n## ").context("the first table")?;
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let mut run = 0;
    for row in rows.skip(1) {
        let (_, rest) = row
            .split_once('`')
            .with_context(|| format!("no command in {row}"))?;
        let (command, _) = rest.split_once('`').context("the end of the command")?;
        if ELSEWHERE.iter().any(|each| command.starts_with(each))
            || !command.starts_with("forwarder ")
        {
            continue;
        }
        let pages = world.site.directory().join("man");
        let command = command
            .replace("/etc/forwarder.toml", file)
            .replace("./man", &pages.display().to_string());
        let output = if let Some((words, _)) = command.split_once(" > ") {
            std::process::Command::new(env!("CARGO_BIN_EXE_forwarder"))
                .args(words.split(' ').skip(1))
                .output()?
        } else {
            let words = shell_words(&command);
            let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
            let offline = ["api", "check", "explain", "man", "completions"].contains(&words[0])
                || words.starts_with(&["config", "schema"])
                || words.starts_with(&["config", "init"]);
            if offline {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_forwarder"));
                command.args(&words).output()?
            } else {
                world.forwarder.run(&words)?
            }
        };
        ensure!(output.status.success(), "{command}: {}", said(&output));
        ensure!(!output.stdout.is_empty(), "{command} prints nothing");
        run += 1;
    }
    ensure!(run >= 15, "only {run} commands in the table");
    Ok(())
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
