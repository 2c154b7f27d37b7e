//! Both sides over a network that loses, doubles, delays and reorders.

mod link;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use forwarder_common::FlowKey;

use super::entry::{Change, Flow, Way};
use super::*;
use link::{Random, Trouble, World};

#[test]
fn what_is_encoded_is_decoded() {
    let key = FlowKey {
        source: 1,
        destination: 2,
        ports: 3,
        protocol: 6,
    };
    let wide = FlowKey {
        source: [1, 2, 3, 4],
        destination: [5, 6, 7, 8],
        ports: 9,
        protocol: 17,
    };
    let way = Way {
        interface: entry::name_hash("outside"),
        mac: [1, 2, 3],
        tags: [4, 5],
    };
    let backends: [IpAddr; 2] = [[192, 0, 2, 1].into(), [1_u16; 8].into()];
    let flow = Flow {
        key: wide,
        source: [9; 4],
        destination: [8; 4],
        ports: 7,
        states: [0x0500_0002, 3],
        way,
        out: None,
    };
    let out = Some(Way {
        interface: 7,
        ..way
    });
    let entries = [
        Entry::Begin,
        Entry::V4(Change::Gone(key, key)),
        Entry::V6(Change::Flow(flow)),
        Entry::V6(Change::Flow(Flow { out, ..flow })),
        Entry::V4(Change::Kept(key, backends[1], 80)),
        Entry::V6(Change::Kept(wide, backends[0], 0)),
        Entry::V6(Change::Released(wide)),
        Entry::Backends(false, vec![1, 2, 3]),
        Entry::Backends(true, Vec::new()),
        Entry::Past(false, vec![4]),
        Entry::Past(true, vec![5, 6]),
        Entry::End,
    ];
    let mut chunk = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut chunk));
    let mut decoded = Vec::new();
    Entry::decode_all(&chunk, |entry| decoded.push(entry)).expect("good");
    assert_eq!(decoded, entries);
    for length in 0..chunk.len() {
        // Any beginning is entries or an error.
        let _ = Entry::decode_all(&chunk[..length], |_| {});
    }
    for byte in 6..=u8::MAX {
        let kind = byte & 0x7f;
        if kind > 9 && kind & 0x40 == 0 {
            assert!(Entry::decode_all(&[&[byte], &[0; 99][..]].concat(), |_| {}).is_err());
        }
    }
}

/// A later version may tell of more.
#[test]
fn what_is_not_known_is_passed_over() {
    let known = Entry::V4(Change::Released(FlowKey::default()));
    let mut chunk = Vec::new();
    known.encode(&mut chunk);
    for kind in [0x41, 0x7f, 0xc1, 0xff] {
        chunk.extend([kind, 3, 0, 9, 9, 9]);
    }
    // Of a kind that is known it may tell more.
    let flow = Flow {
        key: FlowKey::default(),
        source: 1,
        destination: 2,
        ports: 3,
        states: [4, 5],
        way: Way::default(),
        out: Some(Way::default()),
    };
    let egress = Entry::V4(Change::Flow(flow));
    let at = chunk.len();
    egress.encode(&mut chunk);
    chunk[at + 1] += 2;
    chunk.extend([7, 7]);
    known.encode(&mut chunk);
    let mut decoded = Vec::new();
    Entry::decode_all(&chunk, |entry| decoded.push(entry)).expect("good");
    let mut expected = vec![known.clone()];
    expected.extend(vec![Entry::Other; 4]);
    expected.extend([egress, known]);
    assert_eq!(decoded, expected);
    // One that is cut off is none.
    for cut in [&[0x41][..], &[0x41, 3], &[0x41, 3, 0, 9, 9]] {
        assert!(Entry::decode_all(cut, |_| {}).is_err());
    }
}

#[test]
fn a_chunk_fits_every_path() {
    use super::super::secret::Secret;
    use super::super::wire::{Header, Kind, Refusal};

    let key = Secret::from([7; 32]).sync_key(0);
    let header = Header {
        kind: Kind::Sync,
        sender: 0,
        path: 0,
        process: 5,
        sequence: 1,
    };
    let stream = Stream {
        epoch: 1,
        number: 2,
    };
    let message = Message::Chunk(stream, 3, vec![9; CHUNK]);
    let datagram = message.seal(6, &header, &key);
    assert!(datagram.len() <= 1280 - 40 - 8, "{}", datagram.len());
    assert_eq!(Header::decode(&datagram), Ok(header));
    assert_eq!(
        Message::open(&datagram, &header, 6, &key),
        Ok(message.clone())
    );
    let wrong = |datagram: &[u8], own, key| Message::open(datagram, &header, own, key);
    assert_eq!(wrong(&datagram, 7, &key), Err(Refusal::Stale));
    let other = Secret::from([7; 32]).sync_key(1);
    assert_eq!(wrong(&datagram, 6, &other), Err(Refusal::Forged));
    for length in 0..datagram.len() {
        assert!(wrong(&datagram[..length], 6, &key).is_err());
    }
    let missing = vec![(1, 2); message::RANGES];
    for message in [
        Message::Probe(stream, 9),
        Message::Applied(stream, 4, missing),
        Message::Again(stream),
    ] {
        let datagram = message.seal(6, &header, &key);
        assert!(datagram.len() <= 1232);
        assert_eq!(wrong(&datagram, 6, &key), Ok(message));
    }
}

#[test]
fn the_standby_has_what_the_active_has_soon_after_the_last_event() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let trouble = Trouble {
            loss: random.below(31),
            duplication: random.below(31),
            delay: random.below(20),
        };
        let mut world = World::new(seed, trouble);
        world.fill(random.below(3_000));
        for _ in 0..300 {
            world.happen(random.below(40));
            world.step();
            match random.below(100) {
                0 => world.restart_sender(),
                1 => world.restart_receiver(),
                2 => world.receiver.abandon(),
                3 => world.lose_events(random.below(40)),
                _ => {}
            }
        }
        // Even if the last thing that happened was that all has to be told again.
        world.settle(3_000);
        assert!(world.sender.is_followed(), "seed {seed}");
        assert_eq!(world.standby(), world.active, "seed {seed} {trouble:?}");
        assert_eq!(world.sender.lag(world.now()), Default::default());
    }
}

#[test]
fn a_tail_is_repaired_within_a_second() {
    for seed in 0..40 {
        let trouble = Trouble {
            loss: 10,
            duplication: 10,
            delay: 5,
        };
        let mut world = World::new(seed, trouble);
        for _ in 0..300 {
            world.happen(20);
            world.step();
        }
        world.settle(1_000);
        assert_eq!(world.standby(), world.active, "seed {seed}");
    }
}

#[test]
fn what_is_said_to_be_told_is_there() {
    let mut said = 0;
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let trouble = Trouble {
            loss: random.below(20),
            duplication: random.below(20),
            delay: random.below(20),
        };
        let mut world = World::new(seed, trouble);
        world.fill(random.below(3_000));
        for _ in 0..300 {
            world.happen(random.below(30));
            world.step();
            if let Some(until) = world.sender.told() {
                assert!(until <= world.now());
                assert_eq!(world.missing(until), None, "seed {seed}");
                said += 1;
            }
            match random.below(100) {
                0 => world.restart_sender(),
                1 => world.restart_receiver(),
                2 => world.receiver.abandon(),
                _ => {}
            }
        }
        world.settle(3_000);
        assert_eq!(world.sender.told(), Some(world.now()), "seed {seed}");
    }
    assert!(said > 1_000, "{said}");
}

#[test]
fn a_peer_that_never_answers_costs_little() {
    let lost = Trouble {
        loss: 100,
        ..Trouble::default()
    };
    let mut world = World::new(1, lost);
    world.happen(100_000);
    world.settle(5_000);
    assert!(!world.sender.is_heard());
    let lag = world.sender.lag(world.now());
    assert_eq!(lag, (0, Duration::ZERO), "nothing waits for nobody");
    assert!(world.sent < 100, "{} datagrams for nothing", world.sent);
}

#[test]
fn a_peer_that_falls_silent_costs_what_there_is_room_for() {
    let mut world = World::new(2, Trouble::default());
    world.happen(100);
    world.settle(100);
    assert!(world.sender.is_followed());
    world.trouble.loss = 100;
    for _ in 0..60 {
        world.happen(20_000);
        world.step();
        assert!(world.sender.lag(world.now()).0 < 500_000);
    }
    world.trouble.loss = 0;
    world.settle(1_000);
    assert_eq!(world.standby(), world.active);
}

#[test]
fn who_does_not_listen_takes_nothing_and_then_everything() {
    let mut world = World::new(3, Trouble::default());
    world.receiver.listen(false);
    world.happen(1_000);
    world.settle(100);
    assert_eq!(world.standby(), BTreeMap::new());
    world.receiver.listen(true);
    world.settle(1_000);
    assert_eq!(world.standby(), world.active);
    // What it held of a stream when it stopped is not what it goes on with.
    world.receiver.listen(false);
    world.receiver.listen(true);
    world.happen(10);
    world.settle(1_000);
    assert_eq!(world.standby(), world.active);
}

#[test]
fn a_restart_of_the_sender_in_a_lower_epoch_is_followed_too() {
    let mut world = World::new(4, Trouble::default());
    world.happen(10);
    world.settle(100);
    // The receiver must not think of the new process's streams as old ones.
    world.restart_sender();
    world.happen(10);
    world.settle(1_000);
    assert_eq!(world.standby(), world.active);
}

#[test]
fn the_round_trip_decides_when_something_is_sent_again() {
    let mut world = World::new(
        5,
        Trouble {
            delay: 60,
            ..Trouble::default()
        },
    );
    for _ in 0..200 {
        world.happen(30);
        world.step();
    }
    world.settle(2_000);
    assert_eq!(world.standby(), world.active);
    let again = world.sender.done().again;
    // The first chunks know no round trip yet.
    assert!(again < 400, "{again} chunks were sent twice for nothing");
    assert!(world.now() > Duration::from_secs(1));
}
