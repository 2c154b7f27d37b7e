//! Echoes between the nodes of a pair.

use forwarder_common::protocol::UDP;
use forwarder_common::{Reason, siphash};

use crate::checksum;
use crate::packet::{Fragment, put, set_addresses, word};
use crate::path::{Charge, End, Model, Packet};

/// Bytes of an echo.
const ECHO: usize = 32;
/// Paths whose answers are noted.
const PATHS: u8 = 16;

impl Model {
    /// Answers an echo of the other node, or notes an answer; `None`: the packet is neither.
    pub(crate) fn between_nodes(&mut self, packet: &Packet) -> Option<End> {
        let pair = self.tables.pair.as_mut()?;
        let ip = &packet.ip;
        let header = if ip.is_ipv6() { 40 } else { 20 };
        let length = 8 + ECHO;
        let plain = ip.protocol == UDP
            && packet.tuple.destination_port == pair.port
            && ip.fragment == Fragment::Whole
            && ip.l4 == header
            && ip.bytes.len() == header + length
            && word(&ip.bytes, header + 4) == Some(length as u16);
        let path = (ip.destination, ip.source);
        if !plain || pair.peer.process == 0 || !pair.paths.contains(&path) {
            return None;
        }
        let payload = &ip.bytes[header + 8..];
        let [kind, asks, path] = [payload[3], payload[4], payload[5]];
        if payload[..3] != *b"FW\x01" || payload[6..8] != [0, 0] {
            return None;
        }
        let words: Vec<u64> = payload
            .chunks_exact(8)
            .map(|bytes| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |word, b| word << 8 | u64::from(*b))
            })
            .collect();
        let said = [words[0], words[1], words[2]];
        let right = |key| siphash::tag(key, &said) == words[3];
        let own = asks == pair.peer.own as u8;
        match kind {
            1 if asks == 1 - pair.peer.own as u8 => {
                let answered = right(&pair.peer.echo) && !pair.without_lease;
                let key = pair.peer.reflection;
                answered.then(|| answer(packet, &key))
            }
            2 | 5 if own && said[1] == pair.peer.process && right(&pair.peer.answer) => {
                let latest = pair.answered.entry(path).or_insert(0);
                let new = path < PATHS && said[2] > *latest;
                new.then(|| {
                    *latest = said[2];
                    Reason::AnswerNoted.into()
                })
            }
            _ => None,
        }
    }
}

fn answer(packet: &Packet, key: &siphash::SipKey) -> End {
    let mut ip = packet.ip.clone();
    let (source, destination, udp) = (ip.source, ip.destination, ip.l4);
    let (from, to) = (packet.tuple.source_port, packet.tuple.destination_port);
    ip.edit(|bytes| {
        set_addresses(bytes, destination, source);
        put(bytes, udp, to);
        put(bytes, udp + 2, from);
        let payload = &mut bytes[udp + 8..];
        payload[3] = 5;
        let word = |at: usize| {
            let bytes = payload[at..at + 8].iter().rev();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        let tag = siphash::tag(key, &[word(0), word(8), word(16)]);
        payload[24..].copy_from_slice(&tag.to_le_bytes());
    });
    ip.set_ttl(64);
    put(&mut ip.bytes, udp + 6, 0);
    let length = ip.bytes.len() - udp;
    let pseudo = checksum::pseudo(destination, source, UDP, length);
    let right = match checksum::checksum(pseudo + checksum::sum(&ip.bytes[udp..])) {
        0 => 0xffff,
        right => right,
    };
    put(&mut ip.bytes, udp + 6, right);
    let back = packet.back();
    let frame = packet.framed(&ip, &back);
    End::sent(Reason::AnswerPeer, frame, back.ifindex, Charge::default())
}
