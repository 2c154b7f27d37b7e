//! Who may do what on the admin socket: by user and group, as the kernel says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use forwarder_lab::copy_program;

use super::world::{File, World, said};

/// Users and groups that nobody has.
const USER: &str = "65534";
const WRITERS: &str = "65532";
const READERS: &str = "65533";

/// Runs a command as an ordinary user in a group.
fn run_as(world: &World, group: &str, words: &[&str]) -> Result<Output> {
    // The test's own directory may be closed to others.
    let binary = world.site.directory().join("forwarder");
    if !binary.exists() {
        copy_program(Path::new(env!("CARGO_BIN_EXE_forwarder")), &binary)?;
    }
    let mut command = Command::new("setpriv");
    command.args([
        format!("--reuid={USER}"),
        format!("--regid={USER}"),
        format!("--groups={group}"),
    ]);
    command
        .arg(binary)
        .args(words)
        .arg("--socket")
        .arg(world.forwarder.socket());
    Ok(command.output()?)
}

#[test]
fn groups_may_what_the_file_says() -> Result<()> {
    let file = File {
        more: format!("[admin]\ngroup = \"{WRITERS}\"\nread_group = \"{READERS}\"\n"),
        ..File::base()
    };
    let world = World::start(&file)?;
    let looks = [&["status"][..], &["history"], &["flow"], &["metrics"]];
    let changes = [
        &["pool", "drain", "web", "b1"][..],
        &["reload"],
        &["config", "show"],
    ];
    for words in looks {
        for group in [READERS, WRITERS] {
            let output = run_as(&world, group, words)?;
            ensure!(
                output.status.success(),
                "{group} {words:?}: {}",
                said(&output)
            );
        }
    }
    for words in changes {
        let output = run_as(&world, READERS, words)?;
        let refused = said(&output);
        ensure!(output.status.code() == Some(1), "{words:?}: {refused}");
        let says = format!("user {USER} may look and not change");
        ensure!(
            refused.contains(&says) && refused.contains(WRITERS),
            "{refused}"
        );
    }
    let status = world.forwarder.status()?;
    ensure!(status["config_generation"] == 1, "{status:#}");
    ensure!(!status.to_string().contains("drained"), "{status:#}");
    for words in changes {
        let output = run_as(&world, WRITERS, words)?;
        ensure!(output.status.success(), "{words:?}: {}", said(&output));
    }
    for words in looks.iter().chain(&changes) {
        let output = run_as(&world, USER, words)?;
        let refused = said(&output);
        ensure!(
            refused.contains("may not ask the daemon anything"),
            "{words:?}: {refused}"
        );
    }
    Ok(())
}

#[test]
fn without_groups_the_file_decides() -> Result<()> {
    let world = World::start(&File::base())?;
    let mode = fs::metadata(world.forwarder.socket())?.permissions().mode();
    ensure!(mode & 0o777 == 0o660, "{mode:o}");
    let refused = said(&run_as(&world, READERS, &["status"])?);
    ensure!(refused.contains("permission denied"), "{refused}");
    // Whoever is in the socket's group may do everything.
    let drained = run_as(&world, "0", &["pool", "drain", "web", "b1"])?;
    ensure!(drained.status.success(), "{}", said(&drained));
    Ok(())
}
