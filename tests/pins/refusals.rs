//! Places that cannot be pinned in.

use std::path::Path;

use super::world::{World, config, text};

/// What `run` says with this pin directory; it must fail and touch nothing.
fn refusal(world: &World, pin: &Path) -> String {
    let file = world.site.directory().join("refused.toml");
    std::fs::write(&file, config("")).expect("write");
    let socket = world.site.directory().join("refused.sock");
    let output = world.command(&[
        "run",
        &file.display().to_string(),
        &format!("--pin={}", pin.display()),
        &format!("--socket={}", socket.display()),
    ]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        !said.contains("panicked") && !said.contains("attached,"),
        "{said}"
    );
    said
}

#[test]
fn clear_errors() {
    let mut world = World::new();
    let directory = world.site.directory().to_owned();
    let nowhere = refusal(&world, &directory.join("forwarder"));
    assert!(
        nowhere.contains("there is no BPF filesystem") && nowhere.contains("mount -t bpf"),
        "{nowhere}"
    );
    let nowhere = refusal(&world, &directory.join("not/there/forwarder"));
    assert!(nowhere.contains("there is no BPF filesystem"), "{nowhere}");

    world.bpf.set_read_only(true).expect("remount");
    let read_only = refusal(&world, &world.pins());
    assert!(read_only.contains("read-only"), "{read_only}");
    world.bpf.set_read_only(false).expect("remount");

    let theirs = world.bpf.path().join("theirs");
    world.bpf.run(|| {
        std::fs::create_dir(&theirs).expect("a directory");
        std::os::unix::fs::chown(&theirs, Some(65534), None).expect("chown");
    });
    let foreign = refusal(&world, &theirs);
    assert!(foreign.contains("belongs to user 65534"), "{foreign}");

    world.run(|_| ());
    let second = refusal(&world, &world.pins());
    assert!(second.contains("another forwarder uses"), "{second}");
    assert!(world.status().is_object(), "the first goes on");
}

#[test]
fn pins_of_another_version_are_taken_over_by_their_links() {
    let mut world = World::start();
    world.kill();
    let program = world.program("eth0");
    // As an older forwarder would have left them.
    let version = format!("v{}", forwarder_common::ABI_VERSION);
    let (new, old) = (world.pins().join(version), world.pins().join("v0"));
    world
        .bpf
        .run(|| std::fs::rename(&new, &old))
        .expect("rename");
    world.run(|_| ());
    assert_ne!(world.program("eth0"), program);
    world.wait_until_ready();
    let gone = forwarder_lab::wait_until("the old version is gone", super::world::LIMIT, || {
        world.bpf.run(|| !old.exists())
    });
    gone.expect("removed");
    assert!(world.program("eth0").is_some() && world.program("eth1").is_some());
}
