//! What is made from the command line's own description: completions and man pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;

use super::print;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Where to write them; it is made if it is not there
    directory: PathBuf,
}

pub fn completions(arguments: &Completions, mut command: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "forwarder", &mut script);
    print(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub fn man(arguments: &Man, mut command: Command) -> Result<ExitCode> {
    let directory = &arguments.directory;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    command.build();
    let mut written = Vec::new();
    page(&command, "forwarder", directory, &mut written)?;
    print(&format!(
        "{} pages in {}",
        written.len(),
        directory.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command, and of those below it.
fn page(command: &Command, name: &str, directory: &Path, written: &mut Vec<String>) -> Result<()> {
    let mut text = Vec::new();
    let page_of = clap_mangen::Man::new(command.clone()).title(name);
    page_of.render(&mut text)?;
    let path = directory.join(format!("{name}.1"));
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    written.push(name.to_owned());
    for below in command.get_subcommands() {
        if below.get_name() != "help" && !below.is_hide_set() {
            let name = format!("{name}-{}", below.get_name());
            page(below, &name, directory, written)?;
        }
    }
    Ok(())
}
