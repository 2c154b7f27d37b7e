//! Any bytes at all: the path ends in a reason, writes nothing outside the frame, and what it passes is
//! what came in.

use forwarder_common::{AddressKey, Mode, Reason, VipAddress, VipKey};

use super::{INSIDE, OUTSIDE, memory};
use crate::memory::{Bytes, Memory, Run};
use crate::verdict::Action;
use mutate::Corpus;

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

const MUTATIONS: usize = 30_000;
/// 2001:db8:113::10.
const VIP6: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 1, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The tables of the other tests, with the virtual servers at an IPv6 address too.
fn both(mode: Mode) -> Memory {
    let mut memory = memory(mode);
    let mut address = [0; 4];
    for (word, bytes) in address.iter_mut().zip(VIP6.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    let answers = VipAddress {
        interfaces: 3,
        answers: 3,
        group: 0,
    };
    memory.v6.addresses.insert(AddressKey { address }, answers);
    for (key, server) in &memory.v4.servers {
        let key = VipKey {
            address,
            service: key.service,
        };
        memory.v6.servers.insert(key, *server);
    }
    memory
}

fn run(memory: &Memory, ifindex: u32, frame: &[u8]) {
    // A driver hands in no less than an Ethernet header.
    if frame.len() < 14 {
        return;
    }
    let (mut traced, mut packet) = (Bytes::new(frame), Bytes::new(frame));
    let expected = Run::<false>(memory).packet(ifindex, &mut traced);
    let verdict = Run::<true>(memory).packet(ifindex, &mut packet);
    // Only a run that writes finds out that every port is taken.
    if verdict.reason != Reason::DropSnatExhausted {
        assert_eq!(verdict, expected, "{frame:02x?}");
    }
    if verdict.action == Action::Pass {
        assert_eq!(packet.frame(), frame, "{verdict:?}");
    }
}

/// Hexadecimal digits; blanks and line ends do not count.
fn bytes(text: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = text
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn any_frame_ends_in_a_reason() {
    let mut corpus = Corpus::read(&["tests/fuzz/corpus/frames"]);
    for (_, file) in &mut corpus.files {
        *file = bytes(file);
    }
    let memories = Mode::ALL.map(both);
    let mut reasons = std::collections::BTreeSet::new();
    for memory in &memories {
        for (_, frame) in &corpus.files {
            let verdict = Run::<false>(memory).packet(OUTSIDE, &mut Bytes::new(frame));
            reasons.insert(verdict.reason as u32);
            run(memory, OUTSIDE, frame);
            run(memory, INSIDE, frame);
        }
    }
    assert!(reasons.len() >= 15, "the corpus gets around: {reasons:?}");
    for _ in 0..MUTATIONS {
        let frame = corpus.mutation();
        let memory = &memories[corpus.below(memories.len())];
        let ifindex = [OUTSIDE, INSIDE][corpus.below(2)];
        run(memory, ifindex, &frame);
    }
}
