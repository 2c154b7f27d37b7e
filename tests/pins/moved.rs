//! What is remembered of a virtual server's older flows goes with the pool that they were in.

use std::net::IpAddr;

use aya::maps::{HashMap, Map, MapData};
use forwarder_common::{FlowKey, V4, V6, protocol};
use forwarder_lab::pinned::DIRECT;
use forwarder_lab::{Family, wait_until};

use super::world::{LIMIT, World, config};

const MEMORIES: [&str; 2] = ["EXCEPTIONS", "EMBRYONIC_EXCEPTIONS"];

/// A flow to port 80 of a VIP.
fn flow<A: Default>(destination: A) -> FlowKey<A> {
    FlowKey {
        source: A::default(),
        destination,
        ports: u32::from_ne_bytes([0x9c, 0x40, 0, 80]),
        protocol: protocol::TCP.into(),
    }
}

#[test]
fn a_virtual_server_in_another_pool_forgets_its_flows() {
    let world = World::start();
    let generation = world.generation();
    let open = |name: &str, digit: char| -> Map {
        let path = generation.join(format!("{name}{digit}"));
        let data = world.bpf.run(|| MapData::from_pin(path)).expect("a pin");
        Map::from_map_data(data).expect("a map")
    };
    let (IpAddr::V4(four), IpAddr::V6(six)) = (Family::V4.vip(DIRECT), Family::V6.vip(DIRECT))
    else {
        panic!("a VIP of each family");
    };
    let moved = flow::<V4>(u32::from_ne_bytes(four.octets()));
    let words = six.octets();
    let stays = flow::<V6>(std::array::from_fn(|at| {
        u32::from_ne_bytes(std::array::from_fn(|byte| words[4 * at + byte]))
    }));
    for name in MEMORIES {
        let mut map: HashMap<_, FlowKey<V4>, u32> = open(name, '4').try_into().expect("a map");
        map.insert(moved, 1, 0).expect("room");
        let mut map: HashMap<_, FlowKey<V6>, u32> = open(name, '6').try_into().expect("a map");
        map.insert(stays, 1, 0).expect("room");
    }
    let reload = |config: &str| {
        std::fs::write(world.forwarder().config(), config).expect("write");
        let output = world.forwarder().run(&["reload"]).expect("reload");
        assert!(output.status.success(), "{output:?}");
    };
    let known = |name: &str| {
        let four: HashMap<_, FlowKey<V4>, u32> = open(name, '4').try_into().expect("a map");
        let six: HashMap<_, FlowKey<V6>, u32> = open(name, '6').try_into().expect("a map");
        (four.get(&moved, 0).is_ok(), six.get(&stays, 0).is_ok())
    };
    let another = format!(
        "[[pool]]\nname = \"another\"\nhealth_check = \"health\"\nbackend = [{{ address = \"{}\" }}]\n",
        Family::V4.backend(1)
    );
    let before = config("");
    reload(&(before.clone() + &another));
    assert_eq!(MEMORIES.map(known), [(true, true); 2], "a pool came");

    let head = "name = \"tcp-l2-dsr-ipv4\"";
    let (front, server) = before.split_once(head).expect("the virtual server");
    let server = server.replacen("pool = \"ipv4\"", "pool = \"another\"", 1);
    reload(&format!("{front}{head}{server}{another}"));
    wait_until("its flows are forgotten, and no others", LIMIT, || {
        MEMORIES.map(known) == [(false, true); 2]
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", world.forwarder().diagnosis()));
}
