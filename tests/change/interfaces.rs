//! Interfaces that come and go: only those are attached and detached.

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::{has_xdp, wait_until};
use serde_json::Value;

use super::traffic::during;
use super::world::{DIRECT, DNAT, File, LIMIT, World, echo, http, no_problem};

const MORE: &str = "[[interface]]\nname = \"third\"\ndevice = \"eth2\"\n\
     [[virtual_server]]\nname = \"there\"\naddress = \"203.0.113.13\"\nport = 80\nmode = \"dnat\"\n\
     pool = \"web\"\ninterfaces = [\"third\"]\n";

/// The program on a device, by its id.
fn program(world: &World, device: &str) -> Result<Value> {
    let shown = world
        .site
        .forwarder
        .show(&["-d", "link", "show", "dev", device])?;
    Ok(shown[0]["xdp"]["prog"]["id"].clone())
}

#[test]
fn only_what_comes_or_goes_is_touched() -> Result<()> {
    let world = World::start(&File::base())?;
    let site = &world.site;
    site.plug(
        &site.forwarder,
        "eth2",
        site.outside,
        &["203.0.113.3/24".to_owned()],
    )?;
    let before = [program(&world, "eth0")?, program(&world, "eth1")?];
    let (web, echo) = ([DNAT, DIRECT].map(http), [DNAT, DIRECT].map(echo));
    let tally = during(&site.client, &web, &echo, |_| {
        for _ in 0..3 {
            // In front of the others: their slots stay what they are.
            let text = File::base().text();
            let (top, rest) = text.split_once("[[interface]]").context("an interface")?;
            world.replace(&format!("{top}{MORE}[[interface]]{rest}"))?;
            world.run(&["reload"])?;
            ensure!(has_xdp(&site.forwarder, "eth2"));
            let status = world.forwarder.status()?;
            let interfaces = status["interfaces"].as_array().context("interfaces")?;
            ensure!(interfaces.len() == 3, "{status:#}");
            ensure!(
                interfaces.iter().all(|each| each["mode"] == "native"),
                "{status:#}"
            );
            world.replace(&text)?;
            world.forwarder.hang_up();
            world.wait("the interface is gone", |status| {
                status["interfaces"]
                    .as_array()
                    .is_some_and(|all| all.len() == 2)
            })?;
            wait_until("it is detached", LIMIT, || {
                !has_xdp(&site.forwarder, "eth2")
            })?;
        }
        Ok(())
    })?;
    eprintln!("{tally:?}");
    ensure!(tally.is_clean(), "{tally:?}");
    ensure!(before == [program(&world, "eth0")?, program(&world, "eth1")?]);
    let history = world.run(&["history", "--kind", "interface"])?;
    for part in ["eth0", "attached, native", "eth2", "detached"] {
        ensure!(history.contains(part), "no \"{part}\" in\n{history}");
    }
    Ok(())
}

#[test]
fn an_interface_that_cannot_be_taken_in_leaves_everything_as_it_was() -> Result<()> {
    let world = World::start(&File::base())?;
    let site = &world.site;
    // Beyond the indices that there is room for.
    let far = "link add name eth9 index 70000 type veth peer name far\nlink set eth9 up";
    site.forwarder.ip(far)?;
    let before = world.forwarder.status()?;
    let (web, echo) = ([DNAT, DIRECT].map(http), [DNAT, DIRECT].map(echo));
    let tally = during(&site.client, &web, &echo, |_| {
        let more = MORE.replace("eth2", "eth9");
        let path = world.write("far.toml", &(File::base().third().text() + &more))?;
        let said = world.refused(&["reload", path.to_str().unwrap_or_default()])?;
        ensure!(said.contains("interface 70000"), "{said}");
        wait_until("it is not attached", LIMIT, || {
            !has_xdp(&site.forwarder, "eth9")
        })?;
        Ok(())
    })?;
    ensure!(tally.is_clean(), "{tally:?}");
    let after = world.forwarder.status()?;
    for key in ["config", "config_hash", "config_generation"] {
        ensure!(before[key] == after[key], "{after:#}");
    }
    // Some problems come and go with how busy the machine is.
    world.wait("no problem", no_problem)?;
    ensure!(
        after["interfaces"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    );
    let file = world.forwarder.config().to_owned();
    let plan = world.json(&["plan", file.to_str().unwrap_or_default()])?;
    ensure!(plan["ops"] == serde_json::json!([]), "{plan:#}");
    world.run(&["reload"])?;
    Ok(())
}
