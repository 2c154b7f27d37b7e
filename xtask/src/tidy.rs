//! `cargo xtask tidy`: the project's own rules about its files, which no other tool checks.
//! Each rule is a pure function over the files; this one gathers what they need.

mod commands;
mod length;
mod licences;
mod links;
mod named;
mod purity;
mod words;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::command::{self, cargo};
use crate::test::Outcome;
use crate::workspace::{self, File};

/// Check the project's own rules: file lengths, forbidden words, purity, links, commands in the docs, licences
#[derive(Args)]
pub struct Options {}

pub fn run(_: &Options) -> Result<ExitCode> {
    let outcome = outcome()?;
    println!("{}", outcome.summary());
    Ok(outcome.exit_code())
}

/// Applies every rule and prints what each one found; a rule is one check.
pub fn outcome() -> Result<Outcome> {
    let root = workspace::root();
    let files = workspace::files(&root)?;
    println!(
        "Rust files: median {} lines, longest {}",
        length::median(&files),
        length::longest(&files)
    );

    let mut known = commands::Known::new(help);
    let rules: [(&str, Vec<String>); 7] = [
        ("file length", length::check(&files)),
        ("words", words::check(&files)),
        ("purity", purity::check(&files)),
        ("tests in docs", named::check(&files)),
        (
            "links",
            links::check(&files, &|path| root.join(path).exists()),
        ),
        (
            "commands in docs",
            files
                .iter()
                .flat_map(|file| commands::check(file, &mut known))
                .collect(),
        ),
        ("licences", licences(&files)?),
    ];
    let mut outcome = Outcome::default();
    for (rule, findings) in rules {
        println!(
            "  {rule:18} {}",
            if findings.is_empty() { "ok" } else { "BROKEN" }
        );
        for finding in &findings {
            println!("    {finding}");
        }
        outcome.add(if findings.is_empty() {
            Outcome::pass()
        } else {
            Outcome::failure(format!("tidy: {rule}"))
        });
    }
    Ok(outcome)
}

/// What `--help` says about `words`, the name of a program and of its subcommands.
fn help(words: &[String]) -> Option<String> {
    let (program, subcommands) = words.split_first()?;
    let mut command = cargo(["run", "--quiet", "--locked", "--package", program, "--"]);
    command::output(command.args(subcommands).arg("--help"))
}

fn licences(files: &[File]) -> Result<Vec<String>> {
    let rules = files
        .iter()
        .find(|file| file.path == "deny.toml")
        .context("there is no deny.toml")?;
    let metadata = command::output(&mut cargo([
        "metadata",
        "--format-version",
        "1",
        "--locked",
    ]))
    .context("`cargo metadata --locked` failed: is Cargo.lock up to date?")?;
    licences::check(&rules.text, &metadata)
}

/// Files by path, for tests of the rules.
#[cfg(test)]
fn file(path: &str, text: impl Into<String>) -> File {
    File {
        path: path.into(),
        text: text.into(),
    }
}

/// Answers that are asked for once.
type Cache = BTreeMap<Vec<String>, Option<String>>;
