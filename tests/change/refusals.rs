//! A bad file changes nothing, and it is said why.

use anyhow::{Result, ensure};
use forwarder_lab::client;

use super::world::{DNAT, File, LIMIT, World, backends, http};

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
