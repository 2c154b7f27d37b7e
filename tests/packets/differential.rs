//! A1: structured-random packets through program and model; flows, counters and bytes compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forwarder_common::interface::flags::TX;
use forwarder_common::programs::ProgramSet;
use forwarder_common::slot::NOWHERE;
use forwarder_common::virtual_server::backend_flags::{KEEPS_FLOWS, KEEPS_TCP};
use forwarder_common::{Counter, Mode, Reason, Slot, counter, lease};
use forwarder_model::packet::{Frame, Ip};
use forwarder_model::{Action, Output, Tables};

use crate::echoes::Echoes;
use crate::generate::frame;
use crate::harness::{Difference, Harness, LARGEST, describe, hex, read};
use crate::namespace::in_namespace;
use crate::random::Random;
use crate::{flow_maps, scene};

/// Packets of one configuration with fresh flows.
const ROUND: u64 = 125_000;
/// Packets between two changes of the configuration.
const CHANGE: u64 = 10_000;

/// Reasons that a test run cannot reach: it always has 256 bytes of headroom, and an LRU map takes
/// every entry; and the control plane alone makes flows that are expired, which the end-to-end tests try.
const UNREACHABLE: [Reason; 3] = [
    Reason::DropNoHeadroom,
    Reason::DropFlowTableFull,
    Reason::AnswerReset,
];

#[test]
fn program_and_model_agree() {
    let packets = number("FORWARDER_PACKETS").unwrap_or(1_000_000);
    let seed = number("FORWARDER_SEED").unwrap_or(0x5eed);
    println!("{packets} packets, FORWARDER_SEED={seed}");
    let mut reached: BTreeMap<Option<Reason>, u64> = BTreeMap::new();
    for round in 0..packets.div_ceil(ROUND) {
        let length = ROUND.min(packets - round * ROUND);
        for (reason, count) in in_namespace(|| run_round(seed.wrapping_add(round), round, length)) {
            *reached.entry(reason).or_default() += count;
        }
    }
    for reason in Reason::ALL {
        let count = reached.get(&Some(*reason)).copied().unwrap_or(0);
        println!(
            "{:>9} {:>7.3} %  {}",
            count,
            count as f64 * 100.0 / packets as f64,
            reason.name()
        );
    }
    let least = packets / 20_000;
    for reason in Reason::ALL
        .iter()
        .filter(|reason| !UNREACHABLE.contains(reason))
    {
        let count = reached.get(&Some(*reason)).copied().unwrap_or(0);
        assert!(
            count >= least,
            "{} was reached {count} times, at least {least} wanted",
            reason.name()
        );
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

fn run_round(seed: u64, round: u64, length: u64) -> Result<BTreeMap<Option<Reason>, u64>> {
    let mut random = Random::new(seed);
    let mut harness = Harness::new(configuration(round), ProgramSet::Linear)?;
    let (mut echoes, mut reached, mut charged) =
        (Echoes::default(), BTreeMap::new(), Charged::default());
    for position in 0..length {
        if position % CHANGE == CHANGE - 1 {
            let (backend, number) = (random.pick(&[1, 2, 3, 11, 12, 13]), random.next());
            harness.change(|tables| {
                change(tables, backend, number);
                tables.standby = standby(position / CHANGE);
            })?;
            harness.fill_buckets()?;
        }
        let (ifindex, mut bytes) = frame(&mut random, &echoes);
        bytes.truncate(LARGEST);
        match harness.compare(ifindex, &bytes)? {
            Ok(output) => {
                *reached.entry(output.reason).or_default() += 1;
                charged.note(&output, bytes.len());
                remember(&mut echoes, ifindex, &output);
            }
            Err(difference) => report(
                &mut harness,
                (seed, round, position),
                ifindex,
                bytes,
                &difference,
            )?,
        }
    }
    harness.settle()?;
    charged.check(&mut harness)?;
    flow_maps::compare(&mut harness).with_context(|| format!("seed {seed}, round {round}"))?;
    Ok(reached)
}

/// Rounds differ in hash key, ports, and in who transmits how.
fn configuration(round: u64) -> Tables {
    let mut tables = scene::tables();
    tables.hash_key[0] ^= round;
    tables.gue_port += round as u16;
    if round % 2 == 1 {
        for interface in tables.interfaces.values_mut() {
            interface.flags ^= TX;
        }
    }
    tables
}

/// Now and then the node is standby, or hands over, or carries some of the groups; standby soon, for short runs.
fn standby(step: u64) -> [BTreeSet<u8>; 2] {
    let all: BTreeSet<u8> = (0..lease::GROUPS as u8).collect();
    let some = BTreeSet::from([Mode::L2Dsr as u8, Mode::FullNat as u8]);
    match step % 8 {
        1 => [all.clone(), all],
        3 => [BTreeSet::new(), all],
        5 => [some.clone(), some],
        _ => Default::default(),
    }
}

/// A backend dies or comes back, another slot changes.
fn change(tables: &mut Tables, backend: u32, number: u64) {
    if let Some(backend) = tables.backends.get_mut(&backend) {
        // One that is down may keep flows of TCP.
        backend.flags ^= if number.is_multiple_of(3) {
            KEEPS_TCP
        } else {
            KEEPS_FLOWS
        };
    }
    let at = number as usize % tables.slots.len();
    if let Some(slot) = tables.slots.values_mut().nth(at)
        && (NOWHERE + 1..100).contains(&slot.current())
    {
        let base = if slot.current() > 10 { 11 } else { 1 };
        *slot = Slot::changed(
            base + (number >> 20) as u32 % 3,
            slot.current(),
            number & 1 == 1,
        );
    }
}

/// Notes what replies to a translated packet look like.
fn remember(echoes: &mut Echoes, ifindex: u32, output: &Output) {
    let egress = match output.action {
        Action::Redirect(ifindex) => ifindex,
        Action::Tx => ifindex,
        _ => return,
    };
    let translated = [
        Reason::Dnat,
        Reason::FullNat,
        Reason::EgressSnat,
        Reason::NatReply,
        Reason::EgressReply,
    ];
    if output
        .reason
        .is_some_and(|reason| translated.contains(&reason))
        && let Some(frame) = Frame::parse(&output.frame)
        && let Ok(ip) = Ip::parse(&frame.rest, frame.ethertype == 0x86dd)
        && let Some(ports) = ip.ports()
    {
        echoes.note(egress, ip.tuple(ports).turned());
    }
}

/// Writes the packet down, makes it smaller while it still differs, and fails.
fn report(
    harness: &mut Harness,
    (seed, round, position): (u64, u64, u64),
    ifindex: u32,
    bytes: Vec<u8>,
    difference: &Difference,
) -> Result<()> {
    let first = describe(ifindex, &bytes, difference);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(directory)?;
    let fixture = directory.join(format!("packet-{seed}-{position}.hex"));
    std::fs::write(&fixture, format!("{ifindex} {}\n", hex(&bytes)))?;
    let mut differs = |bytes: &[u8]| match harness.compare(ifindex, bytes) {
        Ok(Err(difference)) => Some(describe(ifindex, bytes, &difference)),
        _ => None,
    };
    let (mut small, mut last) = (bytes, String::new());
    for length in (14..small.len()).rev() {
        if let Some(text) = differs(&small[..length]) {
            small.truncate(length);
            last = text;
        }
    }
    for at in 14..small.len() {
        let kept = std::mem::replace(&mut small[at], 0);
        match (kept != 0).then(|| differs(&small)).flatten() {
            Some(text) => last = text,
            None => small[at] = kept,
        }
    }
    panic!(
        "seed {seed}, round {round}, packet {position}, saved as {}\n{first}\nsmaller, on the flows so far:\n{last}",
        fixture.display()
    )
}

/// Virtual server and backend counters, as the model has them.
#[derive(Default)]
struct Charged {
    servers: BTreeMap<u32, Counter>,
    backends: BTreeMap<u32, Counter>,
}

impl Charged {
    fn note(&mut self, output: &Output, bytes: usize) {
        let Some((id, direction)) = output.charge.server else {
            return;
        };
        let add = |map: &mut BTreeMap<u32, Counter>, id| {
            let entry = map.entry(counter::index(id, direction)).or_default();
            entry.packets += 1;
            entry.bytes += bytes as u64;
        };
        add(&mut self.servers, id);
        if let Some(backend) = output.charge.backend {
            add(&mut self.backends, backend);
        }
    }

    fn check(&self, harness: &mut Harness) -> Result<()> {
        for (map, expected, most) in [
            ("VIRTUAL_SERVER_COUNTERS", &self.servers, 2_000),
            ("BACKEND_COUNTERS", &self.backends, 100),
        ] {
            for index in 0..most {
                let expected = expected.get(&index).copied().unwrap_or_default();
                let counted = read(harness.ebpf(), map, index)?;
                ensure!(
                    counted == expected,
                    "{map}[{index}]: {counted:?}, the model has {expected:?}"
                );
            }
        }
        Ok(())
    }
}
