//! The daemon ends and another begins, under load.

use std::fs;
use std::net::UdpSocket;
use std::ops::Range;

use super::load::Load;
use super::world::{LIMIT, World, config, names, servers, text};
use forwarder_lab::client::http;
use forwarder_lab::pinned::NAT;
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, wait_until};
use serde_json::Value;

const ROUNDS: usize = 3;
/// `SHF_EXECINSTR` of elf.h.
const EXECUTABLE: usize = 4;
/// Exit codes of `trace`.
const DROPPED: i32 = 3;
const NO_DROP: i32 = 4;

#[test]
fn a_killed_daemon_is_not_missed_and_the_next_takes_over() {
    let mut world = World::start();
    let load = Load::start(&world.site.client);
    load.pass();
    for round in 0..ROUNDS {
        let (packets, program) = (world.packets(), world.program("eth0"));
        world.kill();
        assert_eq!(world.program("eth0"), program, "attached all the while");
        load.pass();
        world.run(|_| ());
        let after = world.packets();
        assert!(
            packets
                .iter()
                .zip(&after)
                .all(|(before, after)| before + 10 < *after),
            "round {round}: counters go on: {packets:?} {after:?}"
        );
        assert_ne!(world.program("eth0"), program, "its own program runs");
        load.pass();
        world.wait("no problem", |status| {
            status["problems"].as_array().is_some_and(Vec::is_empty)
        });
    }
    load.expect_no_loss();
    world.generation();
}

#[test]
fn stop_leaves_forwarding_and_uninstall_leaves_nothing() {
    let mut world = World::new();
    let foreign = world.pins().join("somebody-elses");
    world
        .bpf
        .run(|| fs::create_dir_all(&foreign))
        .expect("a directory");
    world.run(|_| ());
    world.wait_until_ready();
    let load = Load::start(&world.site.client);
    load.pass();
    let busy = world.uninstall();
    assert!(
        !busy.status.success() && text(&busy).contains("stop it first"),
        "{}",
        text(&busy)
    );

    let end = world
        .forwarder
        .as_mut()
        .expect("it runs")
        .interrupt()
        .expect("an end");
    assert!(end.success(), "{}", world.forwarder().log());
    assert!(world.forwarder().log().contains("forwarding goes on"));
    load.pass();
    load.expect_no_loss();

    let done = world.uninstall();
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains("somebody-elses"), "{}", text(&done));
    // The kernel detaches a moment after the link's last holder is gone.
    let gone = || world.program("eth0").is_none() && world.program("eth1").is_none();
    wait_until("detached", LIMIT, gone).expect("nothing is attached");
    assert_eq!(world.bpf.run(|| names(&world.pins())), ["somebody-elses"]);
    world
        .bpf
        .run(|| fs::remove_dir(&foreign))
        .expect("it is still there");
    assert!(world.uninstall().status.success());
    assert!(!world.bpf.run(|| world.pins().exists()));
    let again = world.uninstall();
    assert!(
        again.status.success() && text(&again).contains("nothing to remove"),
        "{}",
        text(&again)
    );
}

/// Where an object of 64 bits has its code: the sections that are executable.
fn code(object: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize, size: usize| {
        let bytes = object[at..at + size].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let headers = (0..count).map(|index| table + index * size);
    headers
        .filter(|at| number(at + 0x08, 8) & EXECUTABLE != 0)
        .map(|at| {
            let begin = number(at + 0x18, 8);
            begin..begin + number(at + 0x20, 8)
        })
        .collect()
}

#[test]
fn another_object_takes_over_and_a_refused_one_does_not() {
    let mut world = World::start();
    let object = fs::read(env!("FORWARDER_OBJECT")).expect("the object");
    let directory = world.site.directory().to_owned();
    // The same code with another embedded text is another object.
    let (good, bad) = (directory.join("good.o"), directory.join("bad.o"));
    fs::write(&good, [&object[..], b"another build"].concat()).expect("write");
    // `exit` becomes `r0 = 0`: programs that run off their end. What looks like it elsewhere, in type
    // information for example, stays.
    let (exit, other) = ([0x95, 0, 0, 0, 0, 0, 0, 0], [0xb7, 0, 0, 0, 0, 0, 0, 0]);
    let mut broken = object.clone();
    for section in code(&object) {
        let words = broken[section].chunks_exact_mut(8);
        words
            .filter(|word| **word == exit)
            .for_each(|word| word.copy_from_slice(&other));
    }
    assert_ne!(broken, object);
    fs::write(&bad, broken).expect("write");

    let load = Load::start(&world.site.client);
    for _ in 0..ROUNDS {
        let (program, packets) = (world.program("eth1"), world.packets());
        world.kill();
        world.run(|command| {
            command.arg("--object").arg(&good);
        });
        load.pass();
        assert_ne!(world.program("eth1"), program);
        assert!(
            packets
                .iter()
                .zip(world.packets())
                .all(|(before, after)| *before < after)
        );

        let (program, generation) = (world.program("eth1"), world.generation());
        world.kill();
        let socket = directory.join("refused.sock");
        let refused = world.command(&[
            "run",
            &directory.join("forwarder.toml").display().to_string(),
            &format!("--pin={}", world.pins().display()),
            &format!("--object={}", bad.display()),
            &format!("--socket={}", socket.display()),
        ]);
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("the kernel refuses program"), "{said}");
        assert!(said.contains("goes on forwarding"), "{said}");
        assert_eq!(world.program("eth1"), program);
        assert_eq!(world.generation(), generation);
        load.pass();
        world.run(|_| ());
    }
    load.expect_no_loss();
}

#[test]
fn other_sizes_keep_the_flows() {
    let mut world = World::start();
    let load = Load::start(&world.site.client);
    load.pass();
    for limits in [
        "limits = { flows = 50000, backends = 1000, virtual_servers = 100 }",
        "limits = { flows = 90000, table_slots = 200000 }",
    ] {
        world.kill();
        world.run_with(&config(limits), |_| ());
        load.pass();
    }
    load.expect_no_flow_lost();
}

#[test]
fn what_was_down_stays_down() {
    let mut world = World::start();
    world.site.connect(1, false).expect("cut the cable");
    let down = |status: &Value| status.to_string().matches("\"down\"").count() == 2;
    world.wait("the backend is down", down);
    world.kill();
    world.run(|_| ());
    for server in servers(HTTP).into_iter().cycle().take(80) {
        let answer = world.site.client.run(|| http::get(server, "/", LIMIT));
        assert_ne!(answer.expect("an answer").backend, "b2");
    }
    world.site.connect(1, true).expect("plug the cable in");
    world.wait_until_ready();
}

#[test]
fn changes_at_run_time_stay_until_another_file() {
    let mut world = World::start();
    let pool = |world: &World| {
        let status = world.status();
        let backends = status["pools"][0]["backends"].as_array();
        let backends = backends.expect("backends").iter();
        let shown = backends.map(|each| {
            let overrides = each["overrides"].as_object().expect("overrides").len();
            format!("{} {} {overrides}", each["state"], each["weight"])
        });
        shown.collect::<Vec<_>>()
    };
    let name = world.status()["pools"][0]["name"].clone();
    let change = |world: &World, words: &[&str]| {
        let name = name.as_str().expect("a name");
        let words = words.iter().map(|word| match *word {
            "POOL" => name,
            word => word,
        });
        let words: Vec<&str> = words.collect();
        let output = world.forwarder().run(&words).expect("run");
        assert!(output.status.success(), "{}", text(&output));
    };
    let backend = |at: usize| world.status()["pools"][0]["backends"][at]["name"].clone();
    let (first, second) = (backend(0), backend(1));
    let (first, second) = (
        first.as_str().expect("a name"),
        second.as_str().expect("a name"),
    );
    let as_file = pool(&world);
    change(&world, &["pool", "drain", "POOL", first]);
    change(&world, &["pool", "weight", "POOL", second, "7"]);
    let changed = pool(&world);
    assert_ne!(changed, as_file);
    for _ in 0..2 {
        world.kill();
        world.run(|_| ());
        assert_eq!(pool(&world), changed);
    }
    let history = world.forwarder().run(&["history", "--kind", "override"]);
    let history = text(&history.expect("history"));
    assert!(history.contains("as before the start"), "{history}");

    // What a reload ended stays ended.
    change(&world, &["reload"]);
    assert_eq!(pool(&world), as_file);
    world.kill();
    world.run(|_| ());
    assert_eq!(pool(&world), as_file);

    // So does another file.
    change(&world, &["pool", "drain", "POOL", first]);
    world.kill();
    world.run_with(&(config("") + "# another\n"), |_| ());
    assert_eq!(pool(&world), as_file);
}

/// The packet that was dropped last outlives the daemon, and an older one's pins, which lack it, are taken over.
#[test]
fn the_last_drop_outlives_the_daemon() {
    let mut world = World::start();
    let asked = ["trace", "--last-drop", "--reason", "drop-ttl", "-o", "json"];
    let asked = |world: &World| world.forwarder().run(&asked).expect("run");
    assert_eq!(asked(&world).status.code(), Some(NO_DROP));
    // One hop to the router, and none left here.
    let send = || {
        // Always the same packet, however late one arrives.
        let socket = UdpSocket::bind("0.0.0.0:40001").expect("a socket");
        socket.set_ttl(2).expect("set the TTL");
        // An ICMP error may come back.
        let _ = socket.send_to(b"query", (Family::V4.vip(NAT), ECHO));
    };
    wait_until("it is dropped", LIMIT, || {
        world.site.client.run(send);
        asked(&world).status.code() == Some(DROPPED)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", world.forwarder().diagnosis()));
    let packet = |world: &World| {
        let output = asked(world);
        let trace: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        trace["dropped"]["packet"].clone()
    };
    let before = packet(&world);
    assert!(before.to_string().contains("ttl 1"), "{before}");
    world.kill();
    world.run(|_| ());
    assert_eq!(packet(&world), before);

    let pin = world.generation().join("LAST_DROPS");
    world.kill();
    world.bpf.run(|| fs::remove_file(&pin)).expect("a pin");
    world.run(|_| ());
    world.wait_for_log("LAST_DROPS begins empty");
    let log = world.forwarder().log();
    assert!(!log.contains("made anew"), "{log}");
    world.wait_until_ready();
    assert_eq!(asked(&world).status.code(), Some(NO_DROP));
    let pin = world.generation().join("LAST_DROPS");
    assert!(world.bpf.run(|| pin.exists()));
}
