//! Faults of a pair's node itself: which of them make it hand over, and which are only mended.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::Duration;

use aya::maps::MapInfo;
use forwarder_lab::client::http;
use forwarder_lab::site::HTTP;
use forwarder_lab::{BpfFs, Family, Forwarder, displace, take_off, wait_until};
use serde_json::Value;

use super::pair::{LIMIT, Two};
use super::world::{VIP, binary, both_services};

fn wait(two: &Two, what: &str, state: impl Fn() -> bool) {
    wait_until(what, LIMIT, state).unwrap_or_else(|error| panic!("{error:#}\n{}", two.diagnosis()));
}

fn roles(two: &Two) -> [Value; 2] {
    [0, 1].map(|node| two.pair(node)["role"].take())
}

fn is_sound(two: &Two, node: usize) -> bool {
    two.pair(node)["health"] == "sound"
}

fn has_problem(two: &Two, node: usize, text: &str) -> bool {
    let status = two.node(node).status().unwrap_or_default();
    let problems = status["problems"].as_array();
    problems.is_some_and(|all| all.iter().any(|each| each == text))
}

/// The id of the program at a device.
fn program(two: &Two, node: usize, device: &str) -> Option<u32> {
    let shown = two.host(node).show(&["link", "show", device]).ok()?;
    u32::try_from(shown[0]["xdp"]["prog"]["id"].as_u64()?).ok()
}

#[test]
fn a_program_that_was_taken_off_is_mended_and_one_that_was_displaced_hands_over() {
    let two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    let before = program(&two, 0, "eth0").expect("attached");
    take_off(before).expect("take it off");
    wait(&two, "it is attached again", || {
        let log = two.node(0).log();
        log.contains("eth0: our program was taken off behind our back")
            && program(&two, 0, "eth0").is_some()
            && is_sound(&two, 0)
    });
    assert_eq!(roles(&two), ["active", "standby"], "{}", two.diagnosis());

    let other = displace(two.host(0), "eth0").expect("displace it");
    wait(&two, "the other node has taken over", || {
        roles(&two) == ["standby", "active"]
            && has_problem(&two, 0, "lb1 is degraded")
            && has_problem(&two, 0, "the program can't be attached to eth0")
            && has_problem(&two, 1, "lb1 is degraded")
    });
    two.served();
    drop(other);
    wait(&two, "it is well again", || is_sound(&two, 0));
    two.wait_for([Some("standby"), Some("active")]);
}

#[test]
fn a_node_without_a_next_hop_hands_over() {
    let two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    // The carrier stays: what is behind the switch's port is gone.
    let end = (two.host(0), "eth1");
    two.site.cut(&[end], true).expect("cut");
    wait(&two, "the other node has taken over", || {
        roles(&two) == ["standby", "active"]
            && has_problem(&two, 0, "no next hop behind eth1 answers")
            && has_problem(&two, 1, "lb1 is degraded")
    });
    two.served();
    two.site.cut(&[end], false).expect("mend");
    wait(&two, "it is well again", || is_sound(&two, 0));
    two.wait_for([Some("standby"), Some("active")]);
}

/// From now on nobody can write a map of a node's daemon but the packet path (`BPF_MAP_FREEZE`).
fn freeze(two: &Two, node: usize, name: &str) {
    const BPF_MAP_FREEZE: libc::c_int = 22;
    let open = format!("/proc/{}/fdinfo", two.node(node).id());
    let open = fs::read_dir(open).expect("descriptors");
    // One may be closed meanwhile.
    let texts = open.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let id = |text: String| {
        let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        let mut ids = lines.iter().filter_map(|line| line.strip_prefix("map_id:"));
        ids.next()?.trim().parse::<u32>().ok()
    };
    let maps = texts
        .filter_map(id)
        .filter_map(|id| MapInfo::from_id(id).ok());
    let map = maps.filter(|map| map.name_as_str() == Some(name)).last();
    let fd = map.expect("the daemon has it").fd().expect("a descriptor");
    let attribute = [fd.as_fd().as_raw_fd().unsigned_abs()];
    // SAFETY: the attribute is the beginning of `union bpf_attr`, and its size is given.
    let frozen = unsafe {
        let (at, size) = (attribute.as_ptr(), size_of_val(&attribute));
        libc::syscall(libc::SYS_bpf, BPF_MAP_FREEZE, at, size)
    };
    assert_eq!(frozen, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_node_whose_maps_can_not_be_written_hands_over() {
    let mut two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    freeze(&two, 0, "BACKENDS");
    assert_eq!(
        roles(&two),
        ["active", "standby"],
        "nothing is to be written"
    );
    // Both find that it is down, but one can't say so to its data plane.
    two.site.stop_server(0);
    wait(&two, "the other node has taken over", || {
        roles(&two) == ["standby", "active"]
            && has_problem(&two, 0, "the maps don't answer")
            && has_problem(&two, 1, "lb1 is degraded")
    });
    two.served();
}

#[test]
fn a_flood_of_forged_messages_changes_nothing() {
    const FORGED: u64 = 200_000;
    let two = Two::start("l2-dsr");
    two.wait_for([Some("active"), Some("standby")]);
    let refused = || {
        let refused = two.pair(0)["refused"].as_object().cloned();
        let counts = refused.unwrap_or_default();
        counts.values().filter_map(Value::as_u64).sum::<u64>()
    };
    let epoch = || [0, 1].map(|node| two.pair(node)["groups"][0]["epoch"].clone());
    let (before, epochs) = (refused(), epoch());
    // An echo and an answer, as far as anybody can make them without the key.
    let mut forged = [1, 5].map(|kind| {
        let mut datagram = [7; 32];
        datagram[..8].copy_from_slice(&[b'F', b'W', 1, kind, 1, 0, 0, 0]);
        datagram
    });
    two.host(1).run(|| {
        let socket = UdpSocket::bind((Family::V4.vip(3), 0)).expect("a socket");
        for number in 0..FORGED {
            let datagram = &mut forged[number as usize % 2];
            datagram[16..24].copy_from_slice(&number.to_le_bytes());
            // What there is no room for is lost, as it would be elsewhere.
            let _ = socket.send_to(datagram, (Family::V4.outside(), 4747));
        }
    });
    wait(&two, "they are counted", || refused() > before);
    two.served();
    two.wait_for([Some("active"), Some("standby")]);
    assert_eq!(epoch(), epochs, "{}", two.diagnosis());
}

#[expect(clippy::disallowed_methods, reason = "leases run out by real time")]
#[test]
fn a_restart_that_nobody_can_stand_in_for_goes_on_forwarding() {
    let services = both_services("l2-dsr", |family| family);
    let mut two = Two::with(&services);
    two.wait_for([Some("active"), Some("standby")]);
    two.nodes[1] = None;
    let (directory, config) = (two.site.directory().join("pinned"), two.config(&services));
    fs::create_dir_all(directory.join("bpf")).expect("a directory");
    let bpf = BpfFs::mount(&directory.join("bpf")).expect("a BPF filesystem");
    let pin = format!("--pin={}", bpf.path().join("forwarder").display());
    let start = |two: &mut Two| {
        let prepare = |command: &mut Command| {
            command.args(["--node", "lb1", &pin]);
            bpf.enter(command);
        };
        let started = Forwarder::start_with(binary(), two.host(0), &directory, &config, prepare);
        two.nodes[0] = Some(started.unwrap_or_else(|error| panic!("{error:#}")));
    };
    two.nodes[0] = None;
    start(&mut two);
    two.wait_for([Some("active"), None]);
    let answers = |two: &Two| {
        two.site.client.run(|| {
            Family::ALL
                .into_iter()
                .all(|family| http::get(SocketAddr::new(family.vip(VIP), HTTP), "/", LIMIT).is_ok())
        })
    };
    wait(&two, "it is served", || answers(&two));
    let mut stopped = two.nodes[0].take().expect("it runs");
    stopped.terminate().expect("it ends");
    // Every lease that it had otherwise has run out by then.
    std::thread::sleep(Duration::from_secs(2));
    let served = answers(&two);
    start(&mut two);
    two.wait_for([Some("active"), None]);
    assert!(served, "while it was away\n{}", stopped.log());
    two.served();
}
