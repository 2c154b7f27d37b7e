//! Many changes: nothing is left behind, nothing is mixed up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use forwarder_lab::Usage;
use serde_json::Value;

use super::world::{File, World, backend};

/// Descriptors of health checks and commands come and go.
const COME_AND_GO: u64 = 16;
/// Bytes that a history and an allocator may still take; with a leak it would be more.
const GROWTH: u64 = 8 << 20;
/// Files that each writer writes.
const FILES: usize = 40;

/// What stays what it was: maps, programs and attachments to the last one, descriptors and memory about.
fn is_flat(first: Usage, now: Usage) -> bool {
    let kernel = |usage: Usage| (usage.maps, usage.programs, usage.links);
    kernel(first) == kernel(now)
        && now.descriptors <= first.descriptors + COME_AND_GO
        && now.resident <= first.resident + GROWTH
}

#[test]
fn hundreds_of_changes_leave_nothing_behind() -> Result<()> {
    let limited = |mut file: File| {
        // No room for what was not given back, nor for old and new at once.
        file.more = "[limits]\nflows = 100000\nbackends = 16\nvirtual_servers = 5\n".to_owned();
        let text = file.text().replace("limits = { flows = 100000 }\n", "");
        text.replace("interval = \"200ms\"", "interval = \"1s\"")
    };
    let world = World::start_text(&limited(File::base()))?;
    let mut first = None;
    for round in 0..300 {
        let file = match round % 3 {
            0 => File::base().third().extra(),
            1 => File::base().third(),
            _ => File::base(),
        };
        world.replace(&limited(file))?;
        let done = world.json(&["reload"])?;
        ensure!(!done.to_string().contains("no room"), "{done:#}");
        if round % 30 == 29 {
            let now = Usage::of(world.forwarder.id())?;
            ensure!(
                now.maps > 20 && now.programs > 5 && now.links == 2,
                "{now:?}"
            );
            let first = *first.get_or_insert(now);
            ensure!(is_flat(first, now), "{first:?} became {now:?}");
        }
    }
    let status = world.forwarder.status()?;
    ensure!(status["config_generation"] == 301, "{status:#}");
    Ok(())
}

/// Two write the running file, each whole, and have it read by a signal or a command; a third sends one of its own.
#[test]
fn several_writers_at_once_end_with_the_last_file() -> Result<()> {
    let world = World::start(&File::base())?;
    let mut drained = File::base();
    drained.backends[1].1 = "state = \"drained\"";
    let texts = [File::base(), File::base().extra(), drained].map(|file| file.text());
    let hash = |text: &String| world.hash_of(&world.write("hashed.toml", text)?);
    let hashes = texts.iter().map(hash).collect::<Result<Vec<_>>>()?;
    let running = world.forwarder.config().to_owned();
    let sent = world.site.directory().join("sent.toml");
    let sent_path = sent.to_str().context("a path")?;
    let write = |writer: usize, number: usize| -> Result<()> {
        let file = world.write(
            &format!("of-{writer}.toml"),
            &texts[(writer + number) % texts.len()],
        )?;
        let to = if writer == 2 { &sent } else { &running };
        std::fs::rename(file, to)?;
        match (writer, number % 2) {
            (2, _) => world.run(&["reload", sent_path]).map(drop),
            (_, 0) => world.run(&["reload"]).map(drop),
            _ => {
                world.forwarder.hang_up();
                Ok(())
            }
        }
    };
    let (write, over) = (&write, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let work = |writer| move || (0..FILES).try_for_each(|number| write(writer, number));
        let writers = [0, 1, 2].map(|writer| scope.spawn(work(writer)));
        let observer = scope.spawn(|| observe(&world, &hashes, &over));
        let written = writers.map(|each| each.join());
        over.store(true, Ordering::Relaxed);
        for each in written.into_iter().chain([observer.join()]) {
            each.map_err(|_| anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    // The last word. Commands are answered one after the other, and signals that are waiting before them.
    world.replace(&texts[1])?;
    world.run(&["reload", running.to_str().context("a path")?])?;
    world.forwarder.hang_up();
    world.run(&["reload"])?;
    let status = world.forwarder.status()?;
    ensure!(status["config_hash"] == *hashes[1], "{status:#}");
    ensure!(status["config_error"].is_null(), "{status:#}");
    ensure!(is_whole(&status, &hashes), "{status:#}");
    Ok(())
}

/// While others write: it is always one of their files that is at work, whole, and the generation never falls.
fn observe(world: &World, hashes: &[String], over: &AtomicBool) -> Result<()> {
    let mut generation = 0;
    while !over.load(Ordering::Relaxed) {
        let status = world.forwarder.status()?;
        let now = status["config_generation"].as_u64().unwrap_or_default();
        ensure!(generation <= now, "{generation} became {now}");
        ensure!(is_whole(&status, hashes), "{status:#}");
        generation = now;
    }
    Ok(())
}

/// Whether what is at work is what the file of this hash says: the first as it is, the second with a
/// virtual server more, in the third a backend is drained.
fn is_whole(status: &Value, hashes: &[String]) -> bool {
    let servers = status["virtual_servers"].as_array().map_or(0, Vec::len);
    let drained = backend(status, "web", "b2")["state"] == "drained";
    match hashes
        .iter()
        .position(|hash| status["config_hash"] == **hash)
    {
        Some(0) => servers == 4 && !drained,
        Some(1) => servers == 5 && !drained,
        Some(2) => servers == 4 && drained,
        _ => false,
    }
}
