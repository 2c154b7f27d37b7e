//! A plan is what a reload then does, and touches nothing.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::world::{File, World, backend, backends, ready};

#[test]
fn a_plan_is_what_a_reload_does() -> Result<()> {
    let world = World::start(&File::base())?;
    world.ping_backends()?;
    let running = world.forwarder.config().to_owned();
    let running = running.to_str().unwrap_or_default();
    let nothing = |plan: &Value| plan["changes"] == json!([]) && plan["ops"] == json!([]);
    let plan = world.json(&["plan", running])?;
    ensure!(nothing(&plan), "the running file: {plan:#}");
    ensure!(world.run(&["plan", running])?.trim() == "nothing would change");
    ensure!(nothing(&world.json(&["reload"])?));

    let mut weighted = File::base().third().extra();
    weighted.backends[0].1 = "weight = 9";
    let mut drained = File::base().third();
    drained.backends[1].1 = "state = \"drained\"";
    let mut unchecked = File::base().extra();
    unchecked.backends[1].1 = "state = \"disabled\"";
    let renamed = File {
        more: "automap = { ports = \"20000-20999\" }".to_owned(),
        ..File::base()
    };
    for file in [
        File::base().extra(),
        weighted,
        drained,
        unchecked,
        renamed,
        File::base(),
    ] {
        let mut text = file.text();
        if let Some((before, more)) = text.split_once("automap") {
            // At the top, where keys of the file stand.
            text = before.replacen("version = 1\n", &format!("version = 1\nautomap{more}\n"), 1);
        }
        let path = world.write("planned.toml", &text)?;
        let path = path.to_str().unwrap_or_default();
        let before = world.forwarder.status()?;
        let plan = world.json(&["plan", path])?;
        ensure!(!nothing(&plan), "{text}");
        ensure!(
            plan == world.json(&["plan", path])?,
            "a plan changed something"
        );
        let after = world.forwarder.status()?;
        for key in ["config_hash", "config_generation"] {
            ensure!(before[key] == after[key], "a plan changed {key}");
        }
        ensure!(backends(&before).len() == backends(&after).len());
        let done = world.json(&["reload", path])?;
        for key in ["config_hash", "changes", "ops"] {
            ensure!(plan[key] == done[key], "{plan:#}\nis not\n{done:#}");
        }
        ensure!(nothing(&world.json(&["plan", path])?), "done is done");
        let status = world.wait("every backend is up and resolved", |status| {
            backends(status)
                .iter()
                .all(|each| each["health"] == "up" || each["state"] == "disabled")
        })?;
        ensure!(status["config_hash"] == plan["config_hash"], "{status:#}");
        ensure!(status["config"] == *path, "{status:#}");
    }
    Ok(())
}

#[test]
fn changes_at_run_time_hold_until_the_next_reload() -> Result<()> {
    let world = World::start(&File::base())?;
    let done = world.json(&["pool", "drain", "web", "b1"])?;
    ensure!(
        done["changes"][0]["details"] == json!(["state: enabled -> drained"]),
        "{done:#}"
    );
    world.run(&["pool", "weight", "web", "192.0.2.12", "5"])?;
    let status = world.forwarder.status()?;
    ensure!(
        backend(&status, "web", "b1")["state"] == "drained",
        "{status:#}"
    );
    ensure!(backend(&status, "web", "b1")["overrides"] == json!({ "state": "enabled" }));
    ensure!(backend(&status, "web", "b2")["weight"] == 5, "{status:#}");
    let table = world.run(&["status"])?;
    ensure!(
        table.contains("state in the file: enabled") && table.contains("weight in the file: 1"),
        "{table}"
    );

    // Another change leaves these alone; a plan says that a reload will not.
    world.run(&["pool", "disable", "echo", "b1"])?;
    world.run(&["pool", "enable", "echo", "b1"])?;
    let status = world.forwarder.status()?;
    ensure!(
        backend(&status, "echo", "b1")["overrides"] == json!({}),
        "{status:#}"
    );
    ensure!(
        backend(&status, "web", "b1")["state"] == "drained",
        "{status:#}"
    );
    let file = world.forwarder.config().to_owned();
    let plan = world.run(&["plan", file.to_str().unwrap_or_default()])?;
    ensure!(
        plan.contains("~ backend web/b1\n    state: drained -> enabled"),
        "{plan}"
    );
    ensure!(
        plan.contains("~ backend web/b2\n    weight: 5 -> 1"),
        "{plan}"
    );
    world.run(&["reload"])?;
    let status = world.wait("every backend is up", ready)?;
    ensure!(
        backends(&status)
            .iter()
            .all(|each| each["overrides"] == json!({})),
        "{status:#}"
    );
    ensure!(backend(&status, "web", "b1")["state"] == "enabled");

    let said = world.refused(&["pool", "drain", "web", "b9"])?;
    ensure!(
        said.contains("pool web has no backend b9; it has: b1, b2"),
        "{said}"
    );
    let said = world.refused(&["pool", "drain", "wob", "b1"])?;
    ensure!(said.contains("there is no pool wob; there are: "), "{said}");

    let history = world.run(&["history", "--kind", "override"])?;
    for part in [
        "web/b1",
        "state: enabled -> drained",
        "web/b2",
        "weight: 1 -> 5",
    ] {
        ensure!(history.contains(part), "no \"{part}\" in\n{history}");
    }
    Ok(())
}
