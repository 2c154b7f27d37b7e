//! Every command that the documentation names is one that the command line takes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Arguments;

/// What comes after a command is the shell's.
const SHELLS: [&str; 6] = [" > ", " >> ", " | ", " && ", " #", "; "];

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = |directory: &str| {
        let files = fs::read_dir(root.join(directory)).expect("a directory");
        files.map(|file| file.expect("a file").path())
    };
    let all = files("docs").chain(files("docs/decisions"));
    all.filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .chain([root.join("README.md")])
        .collect()
}

/// The words of a command; what is in double quotes is one.
fn words(command: &str) -> Vec<String> {
    let end = SHELLS.iter().filter_map(|shell| command.find(shell)).min();
    let command = &command[..end.unwrap_or(command.len())];
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(index, part)| match index % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// Whether it is taken; one in a sentence may stand without what it is about.
fn taken(command: &str, whole: bool) -> Result<(), String> {
    match Arguments::try_parse_from(words(command)) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::DisplayVersion | ErrorKind::DisplayHelp => Ok(()),
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !whole =>
            {
                Ok(())
            }
            ErrorKind::InvalidValue
                if !whole && error.to_string().contains("a value is required") =>
            {
                Ok(())
            }
            _ => Err(format!("{command}: {error}")),
        },
    }
}

#[test]
fn every_command_of_the_documentation_is_taken() {
    let (mut commands, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut check = |command: &str, whole| {
            commands += 1;
            if let Err(error) = taken(command, whole) {
                wrong.push(format!("{}: {error}", page.display()));
            }
        };
        let mut block = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("```") {
                block = !block;
            } else if block && line.starts_with("forwarder ") {
                check(line, true);
            } else if !block {
                let spans = line.split('`').skip(1).step_by(2);
                let spans = spans.filter(|span| span.starts_with("forwarder "));
                spans.for_each(|span| check(span, false));
            }
        }
    }
    assert!(commands > 200, "only {commands} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
