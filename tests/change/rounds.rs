//! Changes under traffic: nothing is lost, nothing breaks.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use forwarder_lab::client;

use super::traffic::{Tally, during};
use super::world::{DIRECT, DNAT, EXTRA, File, LIMIT, World, backend, echo, http, ready};

const ROUNDS: usize = 4;

/// Traffic through both modes while `work` goes on.
fn traffic(world: &World, work: impl FnOnce() -> Result<()> + Send) -> Result<Tally> {
    let web = [DNAT, DIRECT].map(http);
    let echo = [DNAT, DIRECT].map(echo);
    during(&world.site.client, &web, &echo, work)
}

fn nothing_lost(world: &World, tally: Tally) -> Result<()> {
    eprintln!("{tally:?}");
    ensure!(
        tally.lost == 0 && tally.broken == 0,
        "{tally:?}\n{}",
        world.forwarder.log()
    );
    Ok(())
}

/// Time for traffic to meet what has changed.
fn pause() {
    thread::sleep(Duration::from_millis(150));
}

fn change(world: &World, file: &File) -> Result<()> {
    world.reload(file)?;
    world.wait("every backend is up and resolved", ready)?;
    pause();
    Ok(())
}

#[test]
fn virtual_servers_come_and_go() -> Result<()> {
    let world = World::start(&File::base())?;
    let tally = traffic(&world, || {
        for _ in 0..ROUNDS {
            change(&world, &File::base().extra())?;
            let get = || client::http::get(http(EXTRA), "/", LIMIT);
            world.site.client.run(get)?;
            change(&world, &File::base())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, tally)
}

#[test]
fn backends_are_added_drained_and_removed() -> Result<()> {
    let world = World::start(&File::base())?;
    let pools = ["web", "echo", "direct"];
    let tally = traffic(&world, || {
        for _ in 0..ROUNDS {
            change(&world, &File::base().third())?;
            for pool in pools {
                world.run(&["pool", "drain", pool, "b3"])?;
            }
            // Requests that began before are over: nothing is at the backend that goes.
            pause();
            let status = world.forwarder.status()?;
            ensure!(backend(&status, "web", "b3")["state"] == "drained");
            change(&world, &File::base())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, tally)
}

#[test]
fn weights_change_and_backends_are_drained_and_enabled() -> Result<()> {
    let world = World::start(&File::base().third())?;
    let tally = traffic(&world, || {
        for round in 0..ROUNDS {
            for pool in ["web", "echo", "direct"] {
                world.run(&["pool", "weight", pool, "b1", "7"])?;
                world.run(&["pool", "drain", pool, ["b1", "b2", "b3"][round % 3]])?;
            }
            pause();
            for pool in ["web", "echo", "direct"] {
                world.run(&["pool", "weight", pool, "b1", "1"])?;
                world.run(&["pool", "enable", pool, ["b1", "b2", "b3"][round % 3]])?;
            }
            pause();
            let mut file = File::base().third();
            file.backends[1].1 = "weight = 5";
            change(&world, &file)?;
            file.backends[1].1 = "state = \"drained\"";
            change(&world, &file)?;
            change(&world, &File::base().third())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, tally)
}

#[test]
fn a_storm_of_signals_ends_with_the_last_file() -> Result<()> {
    let world = World::start(&File::base())?;
    let tally = traffic(&world, || {
        for number in 0..150 {
            let file = match number % 3 {
                0 => File::base().extra(),
                1 => File::base(),
                _ => File {
                    more: "nonsense = [".to_owned(),
                    ..File::base()
                },
            };
            world.replace(&file.text())?;
            world.forwarder.hang_up();
        }
        world.replace(&File::base().extra().text())?;
        world.forwarder.hang_up();
        let hash = world.hash_of_file()?;
        world.wait("the last file is at work", |status| {
            status["config_hash"] == *hash && status["config_error"].is_null()
        })?;
        world.run(&["reload"])?;
        ensure!(world.forwarder.status()?["config_hash"] == *hash);
        Ok(())
    })?;
    nothing_lost(&world, tally)
}
