//! Echoes between the nodes of a pair.

use anyhow::Result;
use forwarder_common::Reason;
use forwarder_model::build::Packet;

use super::{Bench, FAMILIES};
use crate::scene::{self, CLIENT, PAIR_PORT, PEER, echo};

/// Between the nodes, to this one.
fn datagram(family: u8, payload: &[u8]) -> Packet {
    let (own, other) = scene::path(family);
    Packet::udp((other, PAIR_PORT), (own, PAIR_PORT), payload)
}

#[test]
fn the_peers_echo_is_answered_while_the_lease_is_valid() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let (own, other) = scene::path(family);
            let right = echo(1, 1, 3, (77, 1_000_000), &PEER.echo);
            let answer = echo(5, 1, 3, (77, 1_000_000), &PEER.reflection);
            let answer = Packet {
                destination_mac: datagram(family, &[]).source_mac,
                source_mac: scene::mac(CLIENT),
                ..Packet::udp((own, PAIR_PORT), (other, PAIR_PORT), &answer)
            };
            let question = datagram(family, &right);
            let out = (CLIENT, answer);
            bench.sent("echo", CLIENT, &question, Reason::AnswerPeer, out.clone())?;
            // The tag vouches for it: a sender's driver may have left the checksum to another.
            let unfinished = Packet {
                transport_error: 0x1234,
                ttl: 3,
                ..question.clone()
            };
            bench.sent("sum", CLIENT, &unfinished, Reason::AnswerPeer, out)?;

            let pass = |bench: &mut Bench, name, packet: &Packet| {
                bench.kept(name, CLIENT, packet, Reason::PassNotOurs)
            };
            for byte in 0..32 {
                let mut changed = right.clone();
                changed[byte] ^= 1;
                pass(bench, "changed", &datagram(family, &changed))?;
            }
            pass(
                bench,
                "long",
                &datagram(family, &[&right[..], &[0]].concat()),
            )?;
            pass(bench, "short", &datagram(family, &right[..31]))?;
            let own_echo = echo(1, 0, 3, (77, 1_000_000), &PEER.echo);
            pass(bench, "own echo thrown back", &datagram(family, &own_echo))?;
            let wrong_key = echo(1, 1, 3, (77, 1_000_000), &PEER.answer);
            pass(bench, "wrong key", &datagram(family, &wrong_key))?;
            let stranger = Packet {
                source: super::client(family),
                ..question.clone()
            };
            pass(bench, "stranger", &stranger)?;
            let elsewhere = Packet::udp((other, PAIR_PORT), (own, PAIR_PORT + 1), &right);
            pass(bench, "another port", &elsewhere)?;

            let fragment = Packet {
                fragment: (0, true),
                ..question.clone()
            };
            if family == 4 {
                pass(bench, "the beginning of a longer one", &fragment)?;
            }

            process(bench, 0)?;
            pass(bench, "no process yet", &question)?;
            process(bench, PEER.process)?;
            without_lease(bench, true)?;
            pass(bench, "no lease", &question)?;
            without_lease(bench, false)?;
        }
        Ok(())
    });
}

fn without_lease(bench: &mut Bench, without: bool) -> Result<()> {
    bench.harness.change(|tables| {
        let pair = tables.pair.as_mut().expect("a pair");
        pair.without_lease = without;
    })
}

fn process(bench: &mut Bench, process: u64) -> Result<()> {
    bench.harness.change(|tables| {
        let pair = tables.pair.as_mut().expect("a pair");
        pair.peer.process = process;
    })
}

#[test]
fn an_answer_goes_where_the_echo_came_from() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let (own, other) = scene::path(family);
            let port = PAIR_PORT + 100;
            let exchange = |sequence| {
                let asked = echo(1, 1, 3, (77, sequence), &PEER.echo);
                let said = echo(5, 1, 3, (77, sequence), &PEER.reflection);
                let question = Packet::udp((other, port), (own, PAIR_PORT), &asked);
                let answer = Packet {
                    destination_mac: question.source_mac,
                    source_mac: scene::mac(CLIENT),
                    ..Packet::udp((own, PAIR_PORT), (other, port), &said)
                };
                (question, answer)
            };
            // One whose checksum comes out as zero, and is sent as what is the same.
            let checksum = 14 + if family == 6 { 40 } else { 20 } + 6;
            let is_zero =
                |sequence: &u64| exchange(*sequence).1.frame()[checksum..checksum + 2] == [0xff; 2];
            let zero = (1..10_000_000).find(is_zero).expect("one of 65,536");
            for sequence in [1, zero] {
                let (question, answer) = exchange(sequence);
                let out = (CLIENT, answer);
                bench.sent("echo", CLIENT, &question, Reason::AnswerPeer, out)?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_answer_is_noted_once() {
    Bench::run(|bench| {
        for (path, family) in (0..).zip(FAMILIES) {
            let answer = |kind, sequence| {
                let said = echo(kind, 0, path, (PEER.process, sequence), &PEER.answer);
                datagram(family, &said)
            };
            let mut kept = |name, packet: Packet, reason| bench.kept(name, CLIENT, &packet, reason);
            kept("the data plane's", answer(5, 7), Reason::AnswerNoted)?;
            kept("again", answer(5, 7), Reason::PassNotOurs)?;
            kept("overtaken", answer(2, 6), Reason::PassNotOurs)?;
            kept("the daemon's", answer(2, 8), Reason::AnswerNoted)?;
            for (asks, path, process) in [
                (1, path, PEER.process),
                (0, 16, PEER.process),
                (0, path, PEER.process + 1),
            ] {
                let said = echo(5, asks, path, (process, 9), &PEER.answer);
                kept("not ours", datagram(family, &said), Reason::PassNotOurs)?;
            }
            let forged = echo(5, 0, path, (PEER.process, 9), &PEER.echo);
            kept("forged", datagram(family, &forged), Reason::PassNotOurs)?;
        }
        Ok(())
    });
}
