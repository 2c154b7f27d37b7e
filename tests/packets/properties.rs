//! What always holds of the pure parts: the flow hash, slots, SNAT candidates, translation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::hash::{SNAT_ATTEMPTS, flow_hash, slot_of, snat_candidate};
use forwarder_common::{Affinity, SnatPool};
use forwarder_model::build::Packet;
use forwarder_model::packet::{Ip, tcp};
use proptest::prelude::*;

const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// A pool is at most this much fuller than another, in standard deviations.
const DEVIATIONS: f64 = 6.0;

fn assert_even(counts: &[u32], what: &str) {
    let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    for (at, count) in counts.iter().enumerate() {
        let off = (f64::from(*count) - mean).abs() / mean.sqrt();
        assert!(
            off < DEVIATIONS,
            "{what}: {count} in {at}, {mean:.0} expected, {off:.1} deviations"
        );
    }
}

/// D11 and A16: whatever part of the 5-tuple varies, flows spread evenly.
#[test]
fn flows_spread_evenly() {
    let slots = 251;
    let spread = |what: &str, hash: &dyn Fn(u32) -> u32| {
        let mut counts = vec![0; slots as usize];
        (0..200_000).for_each(|flow| counts[slot_of(hash(flow), slots) as usize] += 1);
        assert_even(&counts, what);
    };
    let tuple = Affinity::FiveTuple;
    spread("sources", &|flow| {
        flow_hash(flow.to_be(), 1, 2, 6, tuple, KEY)
    });
    spread("source ports, then sources", &|flow| {
        flow_hash((flow >> 16).to_be(), 1, flow << 16 >> 16, 6, tuple, KEY)
    });
    spread("destinations", &|flow| {
        flow_hash(1, flow, 2, 17, tuple, KEY)
    });
    spread("by source", &|flow| {
        flow_hash(flow.to_be(), 1, 2, 6, Affinity::Source, KEY)
    });
    spread("IPv6 interface identifiers", &|flow| {
        flow_hash(
            [0xb80d_0120, 0, 0, flow.to_be()],
            [1, 2, 3, 4],
            5,
            6,
            tuple,
            KEY,
        )
    });
    spread("IPv6 prefixes", &|flow| {
        flow_hash([0xb80d_0120, flow, 0, 0], [1, 2, 3, 4], 5, 6, tuple, KEY)
    });
}

/// A hash that is known under one key says nothing under another.
#[test]
fn the_key_matters() {
    let slots = 251;
    let together = |key| {
        let first = slot_of(flow_hash(0u32, 1, 2, 6, Affinity::FiveTuple, key), slots);
        (0..100_000u32)
            .filter(|flow| {
                slot_of(flow_hash(*flow, 1, 2, 6, Affinity::FiveTuple, key), slots) == first
            })
            .collect::<Vec<_>>()
    };
    let attack = together(KEY);
    let mut counts = vec![0; slots as usize];
    for flow in &attack {
        let hash = flow_hash(*flow, 1, 2, 6, Affinity::FiveTuple, [KEY[0] ^ 1, KEY[1]]);
        counts[slot_of(hash, slots) as usize] += 1;
    }
    let fullest = counts.iter().max().copied().unwrap_or(0);
    assert!(
        fullest < 20,
        "{fullest} of {} still fall together",
        attack.len()
    );
}

/// A14: the first candidates of many flows spread over the pool.
#[test]
fn snat_candidates_spread_evenly() {
    let pool = SnatPool {
        first: 5,
        count: 3,
        port_low: 32_768,
        port_high: 33_267,
    };
    let mut counts = vec![0; 3 * 500];
    for flow in 0..600_000u32 {
        let hash = flow_hash(flow, 1, 2, 6, Affinity::FiveTuple, KEY);
        let (address, port) = snat_candidate(hash, 0, &pool);
        counts[(address - 5) as usize * 500 + usize::from(port - 32_768)] += 1;
    }
    assert_even(&counts, "candidates");
}

/// Most of a flow's candidates differ, so that a taken one is got round.
#[test]
fn snat_attempts_differ() {
    let pool = SnatPool {
        first: 0,
        count: 1,
        port_low: 1_024,
        port_high: 65_535,
    };
    for hash in (0..10_000u32).map(|flow| flow.wrapping_mul(0x9e37_79b9)) {
        let mut ports: Vec<_> = (0..SNAT_ATTEMPTS)
            .map(|attempt| snat_candidate(hash, attempt, &pool).1)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert!(
            ports.len() + 3 > SNAT_ATTEMPTS as usize,
            "{} ports of hash {hash:#x}",
            ports.len()
        );
    }
}

fn addresses() -> impl Strategy<Value = [IpAddr; 3]> {
    let four = any::<[u32; 3]>().prop_map(|all| all.map(|bits| Ipv4Addr::from_bits(bits).into()));
    let six = any::<[u128; 3]>().prop_map(|all| all.map(|bits| Ipv6Addr::from_bits(bits).into()));
    prop_oneof![four, six]
}

proptest! {
    #[test]
    fn slots_and_candidates_are_in_range(
        hash: u32, size in 1u32.., attempt in 0..SNAT_ATTEMPTS, count in 1u32..5_000, ports: [u16; 2]
    ) {
        prop_assert!(slot_of(hash, size) < size);
        let (low, high) = (ports[0].min(ports[1]), ports[0].max(ports[1]));
        let pool = SnatPool { first: 7, count, port_low: low, port_high: high };
        let (address, port) = snat_candidate(hash, attempt, &pool);
        prop_assert!((7..7 + count).contains(&address));
        prop_assert!((low..=high).contains(&port));
    }

    /// Affinity by source knows nothing but the source.
    #[test]
    fn source_affinity(source: u32, destinations: [u32; 2], ports: [u32; 2], protocols: [u8; 2]) {
        let hash = |at: usize, affinity| {
            flow_hash(source, destinations[at], ports[at], protocols[at], affinity, KEY)
        };
        prop_assert_eq!(hash(0, Affinity::Source), hash(1, Affinity::Source));
        let same = hash(0, Affinity::SourceProtocol) == hash(1, Affinity::SourceProtocol);
        prop_assert!(same || protocols[0] != protocols[1]);
    }

    /// A14: there and back is the packet itself, whatever its checksums were.
    #[test]
    fn translation_is_undone(
        [source, destination, other] in addresses(), ports: [u16; 4], error: u16, udp: bool, payload: Vec<u8>
    ) {
        let (from, to) = ((source, ports[0]), (destination, ports[1]));
        let packet = if udp { Packet::udp(from, to, &payload) } else { Packet::tcp(from, to, tcp::ACK) };
        let packet = Packet { payload, transport_error: error, header_error: error, ..packet };
        let bytes = packet.ip();
        let ip = Ip::parse(&bytes, source.is_ipv6()).expect("an IP packet");
        let was = ip.tuple(ip.ports().expect("ports"));
        let mut becomes = was;
        (becomes.source, becomes.source_port) = (other, ports[2]);
        becomes.destination_port = ports[3];
        let mut there = ip.clone();
        there.translate(&becomes);
        let mut back = Ip::parse(&there.bytes, source.is_ipv6()).expect("still an IP packet");
        prop_assert_eq!(back.tuple(back.ports().expect("ports")), becomes);
        back.translate(&was);
        // Zero and 0xffff are one number to the checksum; nothing else may differ.
        for (at, (left, right)) in bytes.chunks(2).zip(back.bytes.chunks(2)).enumerate() {
            let zero = |word: &[u8]| word == [0, 0] || word == [0xff, 0xff];
            prop_assert!(left == right || zero(left) && zero(right), "word {}", at);
        }
    }
}
