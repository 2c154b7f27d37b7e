//! The packet that was dropped last is kept as it came in.

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::maps::PerCpuArray;
use forwarder::dataplane::bpf::drops::{self, Dropped};
use forwarder::io::clock;
use forwarder_common::drop::{FRAME, REASONS, index};
use forwarder_common::programs::ProgramSet;
use forwarder_common::{LastDrop, Mode, Reason};
use forwarder_model::build::Packet;
use forwarder_model::packet::tcp::{ACK, SYN};

use super::{Bench, at, client};
use crate::harness::{Harness, hex};
use crate::namespace::in_namespace;
use crate::scene::{self, CLIENT, address, port, vip};

/// No tick is as long, however busy the machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Tags and the beginning of the frame behind them.
const TAGGED: usize = FRAME + 8;

/// A packet for every reason that one can be dropped for: `drop-flow-table-full` and `drop-no-headroom` take a
/// flow table and a driver that there are not here.
fn dropped_packets() -> Vec<(Reason, Vec<u8>)> {
    let from = (client(4), 4_000);
    let frame = |packet: Packet| at(CLIENT, &packet).frame();
    let syn = |mode, port| Packet::tcp(from, (vip(mode, 4), port), SYN);
    let udp = |mode, port, length| Packet::udp(from, (vip(mode, 4), port), &vec![7; length]);
    let mut malformed = frame(syn(Mode::L2Dsr, port::PLAIN));
    malformed[14] = 0x55;
    let fragment = Packet {
        fragment: (9, false),
        dont_fragment: false,
        ..udp(Mode::L2Dsr, port::PLAIN, 400)
    };
    let ttl = Packet {
        ttl: 1,
        ..udp(Mode::IpipDsr, port::PLAIN, 64)
    };
    let too_big = Packet {
        dont_fragment: false,
        ..udp(Mode::Dnat, port::SMALL_MTU, 900)
    };
    let denied = Packet::tcp(
        (address("100.64.9.9"), 4_000),
        (vip(Mode::L2Dsr, 4), port::DENY),
        SYN,
    );
    let local = address("127.0.0.1");
    let stray = Packet::tcp((client(4), 443), (address("198.51.100.1"), 40_000), ACK);
    vec![
        (
            Reason::DropTruncated,
            frame(syn(Mode::L2Dsr, port::PLAIN))[..20].to_vec(),
        ),
        (Reason::DropMalformed, malformed),
        (
            Reason::DropBadSource,
            frame(Packet::tcp(
                (local, 1),
                (vip(Mode::L2Dsr, 4), port::PLAIN),
                SYN,
            )),
        ),
        (Reason::DropFragment, frame(fragment)),
        (Reason::DropDenied, frame(denied)),
        (Reason::DropRate, frame(syn(Mode::L2Dsr, port::RATE))),
        (Reason::DropNoBackend, frame(syn(Mode::GueDsr, port::EMPTY))),
        (
            Reason::DropNoNextHop,
            frame(udp(Mode::FullNat, port::NO_NEXT_HOP, 300)),
        ),
        (
            Reason::DropNoFlow,
            frame(Packet::tcp(from, (vip(Mode::Dnat, 4), port::PLAIN), ACK)),
        ),
        (Reason::DropSnatNoFlow, frame(stray)),
        (
            Reason::DropSnatExhausted,
            frame(syn(Mode::FullNat, port::NO_SNAT)),
        ),
        (Reason::DropTtl, frame(ttl)),
        (Reason::DropTooBig, frame(too_big)),
        (Reason::DropInternal, frame(syn(Mode::L2Dsr, port::BROKEN))),
    ]
}

/// A frame with its VLAN tags.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

fn last(harness: &mut Harness, reason: Reason) -> Result<Option<Dropped>> {
    let drops = drops::last(harness.ebpf())?;
    Ok(drops.into_iter().find(|each| each.reason == reason))
}

/// Sends a frame until it is what is kept for the reason: in one tick only the first packet is.
fn send_until_kept(harness: &mut Harness, reason: Reason, frame: &[u8]) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a limit for the test")]
    let begin = Instant::now();
    let kept = &frame[..frame.len().min(TAGGED)];
    loop {
        let before = clock::monotonic();
        let output = harness.same(reason.name(), CLIENT, frame)?;
        let mut last = last(harness, reason)?;
        if output.reason == Some(reason)
            && let Some(last) = last.take_if(|last| kept.starts_with(&last.frame))
        {
            // The tags are not counted among the bytes that are kept.
            let whole = frame.len().min(FRAME);
            assert!(last.frame.len() >= whole, "{}", reason.name());
            assert_eq!(last.length as usize, frame.len(), "{}", reason.name());
            assert_eq!(last.ifindex, CLIENT, "{}", reason.name());
            if (before..=clock::monotonic()).contains(&last.at) {
                return Ok(());
            }
        }
        assert!(
            begin.elapsed() < LIMIT,
            "{}: sent {}, kept {:?}",
            reason.name(),
            hex(frame),
            last.map(|last| (last.ifindex, hex(&last.frame)))
        );
    }
}

fn every_reason(set: ProgramSet) {
    Bench::run_on(set, scene::tables(), |bench| {
        let harness = &mut bench.harness;
        assert_eq!(drops::last(harness.ebpf())?, []);
        let packets = dropped_packets();
        for (reason, frame) in &packets {
            send_until_kept(harness, *reason, frame)?;
            if frame.len() > 20 {
                send_until_kept(harness, *reason, &tagged(frame, &[[0x81, 0, 0, 3]]))?;
                let two = [[0x88, 0xa8, 0, 5], [0x81, 0, 0, 6]];
                send_until_kept(harness, *reason, &tagged(frame, &two))?;
            }
        }
        // Each is still there, and they came one after the other.
        let last = drops::last(harness.ebpf())?;
        let mut by_time: Vec<_> = last.iter().map(|last| (last.at, last.reason)).collect();
        by_time.sort();
        let reasons: Vec<_> = by_time.iter().map(|(_, reason)| *reason).collect();
        let sent: Vec<_> = packets.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, sent);
        Ok(())
    });
}

#[test]
fn every_reason_keeps_its_packet() {
    every_reason(ProgramSet::Linear);
}

#[test]
fn only_drops_are_kept() {
    Bench::run(|bench| {
        for (port, reason) in [(port::PLAIN, Reason::L2Dsr), (9, Reason::PassNotOurs)] {
            let packet = Packet::tcp((client(4), 4_000), (vip(Mode::L2Dsr, 4), port), SYN);
            assert_eq!(bench.send(CLIENT, &packet)?.reason, Some(reason));
        }
        assert_eq!(drops::last(bench.harness.ebpf())?, []);
        Ok(())
    });
}

/// Multi-buffer, and the read-only run.
mod other_sets {
    use super::*;

    #[test]
    fn every_reason_keeps_its_packet() {
        every_reason(ProgramSet::Frags);
    }

    /// Of a jumbo frame in several buffers the beginning is kept.
    #[test]
    fn the_beginning_of_a_large_frame_is_kept() {
        Bench::run_on(ProgramSet::Frags, scene::tables(), |bench| {
            let payload: Vec<u8> = (0..8_000_u32).map(|at| at as u8).collect();
            let to = (vip(Mode::Dnat, 4), port::SMALL_MTU);
            let packet = Packet {
                dont_fragment: false,
                ..Packet::udp((client(4), 4_000), to, &payload)
            };
            let frame = at(CLIENT, &packet).frame();
            send_until_kept(&mut bench.harness, Reason::DropTooBig, &frame)
        });
    }

    #[test]
    fn a_trace_keeps_none() {
        in_namespace(|| {
            let mut harness = Harness::new(scene::tables(), ProgramSet::Trace)?;
            for (reason, frame) in dropped_packets() {
                // A trace takes no token from the rate guard.
                if reason != Reason::DropRate {
                    assert_eq!(harness.traced(CLIENT, &frame)?, reason);
                }
            }
            assert_eq!(drops::last(harness.ebpf())?, []);
            Ok(())
        });
    }
}

/// A million packets in a row leave as many as there were ticks.
#[test]
fn a_flood_is_kept_once_a_tick() {
    const PACKETS: u32 = 1_000_000;
    /// Of the fastest clock that kernels are built with, per second.
    const TICKS: u128 = 1_000;
    in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Linear)?;
        let (reason, frame) = dropped_packets().swap_remove(2);
        #[expect(clippy::disallowed_methods, reason = "ticks pass in real time")]
        let begin = Instant::now();
        harness.run_often(CLIENT, &frame, PACKETS)?;
        let ticks = begin.elapsed().as_millis() * TICKS / 1_000 + 2;
        let map = harness.ebpf().map("LAST_DROPS").expect("the map");
        let map: PerCpuArray<_, LastDrop> = map.try_into()?;
        assert_eq!(map.len() as usize, REASONS);
        let values = map.get(&index(reason).expect("a drop"), 0)?;
        assert!(values.iter().all(|each| each.begun == each.finished));
        let written: u64 = values.iter().map(|each| each.begun).sum();
        let most = ticks * values.len() as u128;
        assert!(
            (1..=most).contains(&u128::from(written)),
            "{written} of {PACKETS} in {ticks} ticks"
        );
        Ok(())
    });
}
