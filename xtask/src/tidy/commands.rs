//! Commands in the docs exist: every fenced line that runs `cargo xtask` or `forwarder` names subcommands and
//! long options that `--help` knows.

use super::Cache;
use crate::workspace::File;

/// The programs whose commands are checked, as written in the docs, with the package that has them.
const PROGRAMS: [(&[&str], &str); 2] = [
    (&["cargo", "xtask"], "xtask"),
    (&["forwarder"], "forwarder"),
];

/// What programs say about themselves, asked for once.
pub struct Known<F> {
    ask: F,
    cache: Cache,
}

impl<F: FnMut(&[String]) -> Option<String>> Known<F> {
    /// `ask` returns the help text of a program and its subcommands, `None` if it has no such subcommand.
    pub fn new(ask: F) -> Self {
        Self {
            ask,
            cache: Cache::new(),
        }
    }

    fn help(&mut self, words: &[String]) -> Option<String> {
        if let Some(answer) = self.cache.get(words) {
            return answer.clone();
        }
        let answer = (self.ask)(words);
        self.cache.insert(words.to_vec(), answer.clone());
        answer
    }
}

pub fn check(
    file: &File,
    known: &mut Known<impl FnMut(&[String]) -> Option<String>>,
) -> Vec<String> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let wrong = fenced(&file.text).filter_map(|(number, line)| {
        let reason = wrong(line, known)?;
        Some(format!(
            "{}:{number}: `{}`: {reason}",
            file.path,
            line.trim()
        ))
    });
    wrong.collect()
}

/// Lines of fenced code, numbered from 1.
fn fenced(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        (inside && !fence).then_some((index + 1, line))
    })
}

fn wrong(line: &str, known: &mut Known<impl FnMut(&[String]) -> Option<String>>) -> Option<String> {
    let (package, words) = command(line)?;
    let mut path = vec![package.to_owned()];
    let Some(mut help) = known.help(&path) else {
        return Some(format!("`{package} --help` fails"));
    };
    let mut options = help.clone();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| !word.starts_with('-')) {
        if !help.contains("\nCommands:\n") {
            break;
        }
        if !subcommands(&help).any(|name| name == word) {
            return Some(format!("`{}` has no subcommand `{word}`", path.join(" ")));
        }
        path.push(word.to_owned());
        let Some(text) = known.help(&path) else {
            return Some(format!("`{} --help` fails", path.join(" ")));
        };
        options += &text;
        help = text;
    }
    let long = words.filter_map(|word| word.strip_prefix("--")?.split('=').next());
    let unknown = long
        .filter(|name| !name.is_empty())
        .find(|name| !has_option(&options, name))?;
    Some(format!("`{}` has no option `--{unknown}`", path.join(" ")))
}

/// The package and the arguments of a line that runs one of the checked programs, up to a shell operator.
fn command(line: &str) -> Option<(&'static str, Vec<&str>)> {
    let end = line
        .find(['#', '|', '>', '<', ';', '&', '"', '\'', '\\'])
        .unwrap_or(line.len());
    let mut words: Vec<_> = line[..end]
        .split_whitespace()
        .skip_while(|word| matches!(*word, "$" | "#" | "sudo"))
        .collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next()?;
    }
    PROGRAMS
        .into_iter()
        .find_map(|(written, package)| Some((package, words.strip_prefix(written)?.to_vec())))
}

/// The names that a help text lists under `Commands:`.
fn subcommands(help: &str) -> impl Iterator<Item = &str> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.trim().is_empty());
    lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
}

fn has_option(help: &str, name: &str) -> bool {
    let mut words = help.split(|c: char| !(c.is_alphanumeric() || c == '-'));
    name == "help" || words.any(|word| word.strip_prefix("--") == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn help(words: &[String]) -> Option<String> {
        let text = match words.join(" ").as_str() {
            "forwarder" => {
                "About\n\nUsage: forwarder\n\nCommands:\n  run    Runs\n  trace  Traces a packet\n           in words\n  help   Help\n\nOptions:\n  -h\n"
            }
            "forwarder run" => {
                "Usage: forwarder run CONFIG\n\nOptions:\n      --log-dataplane <LEVEL>\n"
            }
            "forwarder trace" => "Usage: forwarder trace PACKET\n",
            "xtask" => "Usage:\n\nCommands:\n  demo  Shows\n\nOptions:\n",
            "xtask demo" => "Usage:\n\nOptions:\n      --json  One object\n",
            _ => return None,
        };
        Some(text.into())
    }

    fn findings(lines: &str) -> Vec<String> {
        check(
            &file(
                "README.md",
                format!("forwarder gone\n```sh\n{lines}\n```\n"),
            ),
            &mut Known::new(help),
        )
    }

    #[test]
    fn commands_that_exist_pass() {
        let lines = "cargo xtask demo --json | tail -1\n$ sudo ./target/release/forwarder run x.toml --log-dataplane=info
forwarder trace \"tcp 192.0.2.1:1 -> 192.0.2.2:80 --in eth0\"\nforwarder --help  # all\nother gone\nforwarder.toml gone";
        assert_eq!(findings(lines), Vec::<String>::new());
    }

    #[test]
    fn commands_that_do_not_exist_are_named() {
        assert_eq!(
            findings("cargo xtask dmeo"),
            ["README.md:3: `cargo xtask dmeo`: `xtask` has no subcommand `dmeo`"]
        );
        assert_eq!(findings("forwarder in words").len(), 1);
        assert_eq!(
            findings("forwarder run --keep x.toml"),
            ["README.md:3: `forwarder run --keep x.toml`: `forwarder run` has no option `--keep`"]
        );
    }
}
