//! Changes under traffic: nothing is lost, nothing breaks.

use anyhow::{Result, ensure};
use forwarder_lab::{Tally, Traffic, client};

use super::traffic::during;
use super::world::{DIRECT, DNAT, EXTRA, File, LIMIT, World, backend, echo, http, ready};

const ROUNDS: usize = 4;

/// Traffic through both modes while `work` goes on.
fn traffic(world: &World, work: impl FnOnce(&Traffic) -> Result<()>) -> Result<Tally> {
    let web = [DNAT, DIRECT].map(http);
    let echo = [DNAT, DIRECT].map(echo);
    during(&world.site.client, &web, &echo, work)
}

fn nothing_lost(world: &World, tally: &Tally) -> Result<()> {
    eprintln!("{tally:?}");
    ensure!(tally.is_clean(), "{tally:?}\n{}", world.forwarder.log());
    Ok(())
}

/// Changes the file, and lets traffic meet what has changed.
fn change(world: &World, traffic: &Traffic, file: &File) -> Result<()> {
    world.reload(file)?;
    world.wait("every backend is up and resolved", ready)?;
    traffic.turn_over()
}

#[test]
fn virtual_servers_come_and_go() -> Result<()> {
    let world = World::start(&File::base())?;
    let tally = traffic(&world, |traffic| {
        for _ in 0..ROUNDS {
            change(&world, traffic, &File::base().extra())?;
            let get = || client::http::get(http(EXTRA), "/", LIMIT);
            world.site.client.run(get)?;
            change(&world, traffic, &File::base())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, &tally)
}

#[test]
fn backends_are_added_drained_and_removed() -> Result<()> {
    let world = World::start(&File::base())?;
    let pools = ["web", "echo", "direct"];
    let tally = traffic(&world, |traffic| {
        for _ in 0..ROUNDS {
            change(&world, traffic, &File::base().third())?;
            for pool in pools {
                world.run(&["pool", "drain", pool, "b3"])?;
            }
            // Requests that began before are over: nothing is at the backend that goes.
            traffic.turn_over()?;
            let status = world.forwarder.status()?;
            ensure!(backend(&status, "web", "b3")["state"] == "drained");
            change(&world, traffic, &File::base())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, &tally)
}

#[test]
fn weights_change_and_backends_are_drained_and_enabled() -> Result<()> {
    let world = World::start(&File::base().third())?;
    let tally = traffic(&world, |traffic| {
        for round in 0..ROUNDS {
            for pool in ["web", "echo", "direct"] {
                world.run(&["pool", "weight", pool, "b1", "7"])?;
                world.run(&["pool", "drain", pool, ["b1", "b2", "b3"][round % 3]])?;
            }
            traffic.turn_over()?;
            for pool in ["web", "echo", "direct"] {
                world.run(&["pool", "weight", pool, "b1", "1"])?;
                world.run(&["pool", "enable", pool, ["b1", "b2", "b3"][round % 3]])?;
            }
            traffic.turn_over()?;
            let mut file = File::base().third();
            file.backends[1].1 = "weight = 5";
            change(&world, traffic, &file)?;
            file.backends[1].1 = "state = \"drained\"";
            change(&world, traffic, &file)?;
            change(&world, traffic, &File::base().third())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, &tally)
}

#[test]
fn a_storm_of_signals_ends_with_the_last_file() -> Result<()> {
    let world = World::start(&File::base())?;
    let tally = traffic(&world, |_| {
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
    nothing_lost(&world, &tally)
}

#[test]
fn a_newcomer_that_does_not_answer_gets_nothing() -> Result<()> {
    let mut world = World::start(&File::base())?;
    world.site.stop_server(2);
    let tally = traffic(&world, |_| {
        for _ in 0..ROUNDS {
            world.reload(&File::base().third())?;
            world.wait("it is known to be down", |status| {
                backend(status, "web", "b3")["health"] == "down"
            })?;
            world.reload(&File::base())?;
        }
        Ok(())
    })?;
    nothing_lost(&world, &tally)
}

#[test]
fn the_way_to_a_newcomer_is_found_before_it_gets_anything() -> Result<()> {
    let unchecked = |file: File| file.text().replace("health_check = \"alive\"\n", "");
    let world = World::start_text(&unchecked(File::base()))?;
    // Whoever is asked must not have been heard of: the servers are asked by nobody else.
    let tally = traffic(&world, |traffic| {
        for _ in 0..ROUNDS {
            world.site.forwarder.ip("neigh flush to 192.0.2.13")?;
            world.replace(&unchecked(File::base().third()))?;
            world.run(&["reload"])?;
            let status = world.forwarder.status()?;
            ensure!(backend(&status, "web", "b3")["next_hop"].is_object());
            traffic.turn_over()?;
            for pool in ["web", "echo", "direct"] {
                world.run(&["pool", "drain", pool, "b3"])?;
            }
            traffic.turn_over()?;
            world.replace(&unchecked(File::base()))?;
            world.run(&["reload"])?;
        }
        Ok(())
    })?;
    nothing_lost(&world, &tally)
}
