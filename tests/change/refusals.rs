//! A bad file changes nothing, and it is said why.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::client;
use serde_json::Value;

use super::world::{DNAT, File, LIMIT, World, backends, http, said};

#[test]
fn a_bad_file_changes_nothing() -> Result<()> {
    let mut world = World::start(&File::base())?;
    let good = world.forwarder.status()?;
    ensure!(good["config_hash"] == world.hash_of_file()?, "{good:#}");
    ensure!(good["config_generation"] == 1 && good["config_error"].is_null());
    let base = File::base().text();
    let bad = [
        (
            base.replace("pool = \"web\"", "pool = \"wob\""),
            "unknown-pool",
        ),
        (base.replace("pool = \"web\"", "pool = \"web"), "syntax"),
        (
            base.clone() + "[[interface]]\nname = \"x\"\ndevice = \"eth7\"\n",
            "there is no interface eth7",
        ),
        (
            base.replace("flows = 100000", "flows = 100001"),
            "limits: cannot change while the daemon runs; restart it",
        ),
        (
            format!("hash_key = \"{}\"\n{base}", "7d".repeat(16)),
            "hash_key: cannot change",
        ),
        (String::new(), "missing-key"),
    ];
    for (text, says) in &bad {
        let path = world.write("bad.toml", text)?;
        let path = path.to_str().unwrap_or_default();
        for command in ["plan", "reload"] {
            let said = world.refused(&[command, path])?;
            ensure!(said.contains(says), "{command}: no \"{says}\" in\n{said}");
        }
        let status = world.forwarder.status()?;
        for key in ["config", "config_hash", "config_generation"] {
            ensure!(status[key] == good[key], "{key}: {status:#}");
        }
        let error = status["config_error"].as_str().unwrap_or_default();
        ensure!(error.contains(says), "{status:#}");
        ensure!(backends(&status).len() == backends(&good).len());
        let get = || client::http::get(http(DNAT), "/", LIMIT);
        world.site.client.run(get)?;
    }
    // Too large, and not text: the command line itself says so.
    let path = world.write("large.toml", &"#".repeat((8 << 20) + 1))?;
    let said = world.refused(&["reload", path.to_str().unwrap_or_default()])?;
    ensure!(said.contains("larger than 8 MiB"), "{said}");
    let said = world.refused(&["reload", "/nowhere/x.toml"])?;
    ensure!(said.contains("/nowhere/x.toml: can't be read"), "{said}");

    // By signal: the file in its place is bad, then good again.
    world.replace(&bad[0].0)?;
    world.forwarder.hang_up();
    let status = world.wait("the bad file is refused", |status| {
        let error = status["config_error"].as_str().unwrap_or_default();
        error.contains("unknown-pool")
    })?;
    ensure!(status["config_hash"] == good["config_hash"]);
    ensure!(
        world.run(&["config", "show"])?.trim() == base.trim(),
        "the last good text is kept"
    );
    world.replace(&File::base().extra().text())?;
    world.forwarder.hang_up();
    let hash = world.hash_of_file()?;
    world.wait("the good file is at work", |status| {
        status["config_hash"] == *hash
            && status["config_error"].is_null()
            && status["config_generation"] == 2
    })?;
    let history = world.run(&["history", "--kind", "config"])?;
    for part in ["started", "reload refused: ", "reloaded, sha256 ", "T"] {
        ensure!(history.contains(part), "no \"{part}\" in\n{history}");
    }
    let end = world.forwarder.interrupt()?;
    ensure!(end.success(), "{end}\n{}", world.forwarder.log());
    Ok(())
}

/// What a refused file must not change.
fn at_work(world: &World) -> Result<Value> {
    let status = world.forwarder.status()?;
    let keys = ["config", "config_hash", "config_generation"];
    let mut kept = Value::from(keys.map(|key| status[key].clone()).to_vec());
    kept.as_array_mut().context("a list")?.extend(
        ["virtual_servers", "pools"].map(|key| Value::from(status[key].as_array().map(Vec::len))),
    );
    Ok(kept)
}

/// Every file of `tests/config/bad` that `check` refuses, at a running daemon.
#[test]
fn files_that_are_bad_in_every_way_change_nothing() -> Result<()> {
    let world = World::start(&File::base())?;
    let good = at_work(&world)?;
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/config/bad");
    let mut refused = 0;
    for entry in fs::read_dir(bad)? {
        let path = entry?.path();
        let file = path.to_str().context("a path")?;
        if !file.ends_with(".toml") {
            continue;
        }
        let mut check = Command::new(env!("CARGO_BIN_EXE_forwarder"));
        let checked = check.args(["check", file]).output()?;
        // Some are only worth a warning.
        if checked.status.success() {
            continue;
        }
        let why = world.refused(&["reload", file])?;
        let first = said(&checked);
        let first = first.lines().next().context("an error")?;
        ensure!(why.contains(first), "{file}: no \"{first}\" in\n{why}");
        ensure!(at_work(&world)? == good, "{file}");
        refused += 1;
    }
    ensure!(refused > 60, "only {refused} bad files");
    let plan = world.json(&["plan", world.forwarder.config().to_str().context("a path")?])?;
    ensure!(plan["ops"] == serde_json::json!([]), "{plan:#}");
    Ok(())
}

/// Files that are put in place as links: what the link points to is read, at that moment, or nothing is.
#[test]
fn a_file_behind_a_link_is_the_file() -> Result<()> {
    let world = World::start(&File::base())?;
    let file = world.forwarder.config().to_owned();
    let link = |to: &Path| -> Result<()> {
        let new = file.with_extension("link");
        symlink(to, &new)?;
        Ok(fs::rename(&new, &file)?)
    };
    // As some put a whole directory in place: a link to a link.
    let versions = world.site.directory().join("versions");
    let current = versions.join("current");
    for (name, text) in [("one", File::base()), ("two", File::base().extra())] {
        fs::create_dir_all(versions.join(name))?;
        fs::write(versions.join(name).join("forwarder.toml"), text.text())?;
    }
    symlink("one", &current)?;
    link(&current.join("forwarder.toml"))?;
    world.run(&["reload"])?;
    symlink("two", versions.join("next"))?;
    fs::rename(versions.join("next"), &current)?;
    world.forwarder.hang_up();
    let two = world.hash_of(&versions.join("two/forwarder.toml"))?;
    let status = world.wait("what the link points to now is at work", |status| {
        status["config_hash"] == *two
    })?;
    ensure!(
        status["config"] == file.display().to_string(),
        "the link's own name"
    );
    ensure!(status["config_generation"] == 3, "{status:#}");

    let good = at_work(&world)?;
    for (to, says) in [
        (versions.join("three"), "No such file"),
        (file.clone(), "Too many levels of symbolic links"),
        (versions.clone(), "directory"),
        ("/dev/zero".into(), "device"),
    ] {
        link(&to)?;
        let why = world.refused(&["reload"])?;
        ensure!(why.contains(says), "{}: {why}", to.display());
        ensure!(at_work(&world)? == good, "{}", to.display());
    }
    link(&current.join("forwarder.toml"))?;
    world.run(&["reload"])?;
    ensure!(world.forwarder.status()?["config_error"].is_null());
    Ok(())
}
