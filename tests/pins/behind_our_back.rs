//! Somebody, or something, changes what is ours.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aya::maps::{Array, Map, MapData};
use forwarder_common::{Backend, VipEntry as _, VipEntry4, VipKey, VirtualServer};
use forwarder_lab::wait_until;
use serde_json::Value;

use super::world::{LIMIT, World};

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

fn bpf(command: libc::c_int, attribute: &[u64]) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is the beginning of `union bpf_attr`, and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_ptr(),
            size_of_val(attribute),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What `bpftool link detach` does.
fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &[path.as_ptr().expose_provenance() as u64, 0])?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: just opened, owned by nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    bpf(
        BPF_LINK_DETACH,
        &[u64::from(link.as_raw_fd().unsigned_abs())],
    )
    .map(drop)
}

/// When programs were taken off, as the history has it.
fn taken_off(world: &World) -> Vec<Duration> {
    let output = world.forwarder().run(&["history", "-o", "json"]);
    let output = output.expect("history").stdout;
    let history: Value = serde_json::from_slice(&output).expect("JSON");
    let events = history["events"].as_array().expect("a list");
    let taken = events.iter().filter(|event| {
        let text = event["text"].as_str().expect("text");
        text.ends_with("our program was taken off behind our back")
    });
    let at = |event: &Value| event["at_milliseconds"].as_u64().expect("a time");
    taken
        .map(|event| Duration::from_millis(at(event)))
        .collect()
}

#[test]
fn a_detached_program_is_attached_again() {
    let world = World::start();
    let version = format!("v{}", forwarder_common::ABI_VERSION);
    let links = world.pins().join(version).join("links");
    // Seen within a second, if the daemon gets a CPU.
    let soon = (1..=20).any(|round| {
        let now = UNIX_EPOCH.elapsed().expect("a time after 1970");
        for link in world.bpf.run(|| super::world::names(&links)) {
            let detached = world.bpf.run(|| detach(&links.join(&link)));
            detached.expect("detach");
        }
        wait_until("attached again, and pinned", LIMIT, || {
            world.program("eth0").is_some()
                && world.program("eth1").is_some()
                && world.bpf.run(|| super::world::names(&links)).len() == 2
        })
        .expect("attached");
        let mut seen = Vec::new();
        wait_until("it is in the history", LIMIT, || {
            seen = taken_off(&world);
            seen.len() == 2 * round
        })
        .unwrap_or_else(|error| panic!("{error}: {seen:?}\n{}", world.forwarder().diagnosis()));
        let last = seen.iter().copied().max().expect("a time");
        last < now + Duration::from_secs(1)
    });
    assert!(soon, "{:?}", taken_off(&world));
    world.wait_for_log("our program was taken off behind our back");
    world.wait_until_ready();
}

#[test]
fn changed_maps_are_repaired() {
    let world = World::start();
    let generation = world.generation();
    let open = |name: &str| -> Map {
        let data = world.bpf.run(|| MapData::from_pin(generation.join(name)));
        Map::from_map_data(data.expect("a pin")).expect("a map")
    };
    let mut backends: Array<_, Backend> = open("BACKENDS").try_into().expect("an array");
    let before: Vec<_> = backends
        .iter()
        .take(8)
        .map(|entry| entry.expect("an entry"))
        .collect();
    for index in 0..8 {
        backends.set(index, Backend::default(), 0).expect("set");
    }
    // One virtual server that is ours goes, and one that is nobody's comes.
    let mut buckets: Array<_, u64> = open("VIP_BUCKETS4").try_into().expect("an array");
    let mut vips: Array<_, VipEntry4> = open("VIPS4").try_into().expect("an array");
    let count = buckets.len();
    let heads = |buckets: &Array<MapData, u64>| -> Vec<u64> {
        (0..count)
            .map(|bucket| buckets.get(&bucket, 0).expect("a bucket"))
            .collect()
    };
    let used = |heads: &[u64]| heads.iter().filter(|head| **head != 0).count();
    let found = heads(&buckets);
    assert_eq!(used(&found), 4);
    let ours = found.iter().position(|head| *head != 0).expect("a bucket") as u32;
    buckets.set(ours, 0, 0).expect("set");
    let foreign = VipKey {
        address: 1,
        service: 2,
    };
    let strange = VipEntry4::bucket(&foreign, count);
    assert_eq!(found[strange as usize], 0);
    let last = vips.len() - 1;
    vips.set(
        last,
        VipEntry4::new(foreign, VirtualServer::default(), 0),
        0,
    )
    .expect("set");
    buckets.set(strange, u64::from(last), 0).expect("set");

    wait_until("repaired", LIMIT, || {
        let now = backends
            .iter()
            .take(8)
            .map(|entry| entry.expect("an entry"));
        let heads = heads(&buckets);
        now.eq(before.iter().copied())
            && used(&heads) == 4
            && heads[ours as usize] != 0
            && heads[strange as usize] == 0
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", world.forwarder().diagnosis()));
    world.wait_for_log("a map was changed behind our back: remove virtual server");
    world.wait_until_ready();
}

#[test]
fn removed_pins_are_made_again() {
    let mut world = World::start();
    let (pins, generation) = (world.pins(), world.generation());
    let all = world.bpf.run(|| super::world::names(&generation));
    world
        .bpf
        .run(|| std::fs::remove_dir_all(&pins))
        .expect("remove");
    wait_until("pinned again", LIMIT, || {
        world.bpf.run(|| super::world::names(&generation)) == all
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", world.forwarder().diagnosis()));
    let program = world.program("eth0");
    world.kill();
    assert_eq!(world.program("eth0"), program);
    world.run(|_| ());
    world.wait_until_ready();
}
