//! Whatever comes in: it is understood, or refused by its reason; it never ends in a panic.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::claim::{Claim, Health, Role};
use super::super::secret::Secret;
use super::super::wire::{self, Header, Heard, Hello, Kind, Refusal};
use super::super::{Effect, Pair};
use super::simulation::{REFLECTED, settings};

const NOW: Duration = Duration::from_secs(1);

fn header(kind: Kind, sender: u8) -> Header {
    Header {
        kind,
        sender,
        path: 1,
        process: 0x1122_3344_5566_7788,
        sequence: 42,
    }
}

fn node() -> Pair {
    let mut pair = Pair::new(settings(0, false), 5, &BTreeMap::new(), NOW);
    pair.timeout(true, NOW);
    pair
}

fn claim() -> impl Strategy<Value = Claim> {
    let role = prop::sample::select(Role::ALL.to_vec());
    (
        any::<u16>(),
        role,
        any::<[u64; 2]>(),
        any::<u8>(),
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(group, role, [epoch, held], priority, [able, offers, asks])| Claim {
                group,
                role,
                epoch,
                held,
                priority,
                able,
                offers,
                asks,
            },
        )
}

proptest! {
    #[test]
    fn a_hello_is_read_as_it_was_written(
        claims in prop::collection::vec(claim(), 0..8),
        words: [u64; 5],
        maintenance: bool,
    ) {
        let hello = Hello {
            heard: [Heard { process: words[0], sequence: words[1] }, Heard { process: words[2], sequence: words[3] }],
            config: words[4],
            version: [1, 22, 333],
            health: Health::Degraded,
            maintenance,
            claims,
        };
        let keys = Secret::from([1; 32]).keys(1);
        let header = header(Kind::Hello, 1);
        let datagram = hello.encode(&header, &keys);
        prop_assert_eq!(Header::decode(&datagram), Ok(header));
        prop_assert_eq!(Hello::decode(&datagram, &header, &keys), Ok(hello));
        for end in 0..datagram.len() {
            let cut = Header::decode(&datagram[..end]).and_then(|header| Hello::decode(&datagram[..end], &header, &keys));
            prop_assert!(matches!(cut, Err(Refusal::Length | Refusal::Forged)), "{:?}", cut);
        }
    }

    #[test]
    fn garbage_changes_nothing(garbage in prop::collection::vec(any::<u8>(), 0..200), begins: bool) {
        let mut pair = node();
        while pair.poll().is_some() {}
        let before = pair.view(NOW);
        let mut datagram = garbage;
        if begins && datagram.len() > 4 {
            let kind = 1 + datagram[3] % 3;
            datagram[..4].copy_from_slice(&[b'F', b'W', 1, kind]);
        }
        prop_assert!(pair.datagram(0, &datagram, NOW).is_err());
        prop_assert_eq!(pair.poll(), None);
        let after = pair.view(NOW);
        prop_assert_eq!(after.refusals.values().sum::<u64>(), 1);
        prop_assert_eq!((before.groups, before.paths, before.peer), (after.groups, after.paths, after.peer));
    }
}

#[test]
fn every_changed_bit_of_an_echo_is_noticed() {
    let keys = Secret::from([7; 32]).keys(1);
    let good = wire::echo(&header(Kind::Echo, 1), &keys.echo);
    let mut pair = node();
    while pair.poll().is_some() {}
    assert_eq!(pair.datagram(1, &good, NOW), Ok(()));
    // Whoever answers itself has a short lease.
    assert!(matches!(pair.poll(), Some(Effect::Lease(..))));
    let answer = match pair.poll() {
        Some(Effect::Send(1, answer)) => answer,
        other => panic!("{other:?}"),
    };
    let answers = Secret::from([7; 32]).keys(0).answer;
    let answered = Header::decode(&answer).expect("a header");
    assert_eq!(wire::check_echo(&answer, &answered, &answers), Ok(()));
    assert_eq!(answered.sequence, 42);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.datagram(1, &bad, NOW).is_err(), "bit {bit}");
        assert_eq!(pair.poll(), None);
    }
}

#[test]
fn own_datagrams_thrown_back_and_those_of_another_pair_are_refused() {
    let mut pair = node();
    let own: Vec<Vec<u8>> = std::iter::from_fn(|| pair.poll())
        .filter_map(|effect| match effect {
            Effect::Send(_, datagram) => Some(datagram),
            _ => None,
        })
        .collect();
    assert!(own.len() >= 4);
    for datagram in own {
        assert_eq!(pair.datagram(0, &datagram, NOW), Err(Refusal::Sender));
    }
    let other = Secret::from([8; 32]).keys(1);
    let echo = wire::echo(&header(Kind::Echo, 1), &other.echo);
    assert_eq!(pair.datagram(0, &echo, NOW), Err(Refusal::Forged));
}

#[test]
fn without_a_lease_no_echo_is_answered() {
    let keys = Secret::from([7; 32]).keys(1);
    let echo = wire::echo(&header(Kind::Echo, 1), &keys.echo);
    let mut pair = node();
    while pair.poll().is_some() {}
    pair.timeout(false, NOW + Duration::from_millis(50));
    while pair.poll().is_some() {}
    assert_eq!(pair.datagram(0, &echo, NOW + REFLECTED), Ok(()));
    let sends =
        std::iter::from_fn(|| pair.poll()).filter(|effect| matches!(effect, Effect::Send(..)));
    assert_eq!(sends.count(), 0);
}
