//! Loaded programs on filled maps, and what runs them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use forwarder_common::bench::{PORT_BITS, Template, WORDS6};
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Counter, Interface, Reason, Slot, lease, limits};

use super::case::{Case, Program, Varies};
use super::hold::Hold;
use super::scene::{HASH_KEY, IFINDEX, Kind, Scene, VIRTUAL_SERVERS};
use super::{Effort, flows};
use crate::core::plan::plan;
use crate::core::tables::Tables;
use crate::dataplane::bpf::load::{self, OBJECT, Options, Sizes};
use crate::dataplane::bpf::servers::Servers;
use crate::dataplane::bpf::slots::Slots;
use crate::dataplane::bpf::write;
use crate::io::clock;

pub static BENCH: &[u8] = aya::include_bytes_aligned!(env!("FORWARDER_BENCH_OBJECT"));

/// The other node's, if there is one.
const PAIR_PORT: u16 = 4747;
/// Slots of lookup tables: room for two large pools and some small ones.
const SLOTS: u32 = 1 << 20;

/// The forwarder with one configuration.
pub struct Bed {
    /// The configuration.
    pub scene: Scene,
    /// The maps and programs that a daemon would have.
    pub ebpf: Ebpf,
    path: ProgramFd,
    interface: Interface,
}

impl Bed {
    /// Loads the programs and fills the maps.
    pub fn new(kind: Kind, effort: Effort) -> Result<Self> {
        let scene = Scene::new(kind)?;
        let sizes = Sizes {
            virtual_servers: VIRTUAL_SERVERS,
            virtual_server_ids: VIRTUAL_SERVERS * 2,
            backends: limits::BACKENDS as u32,
            flows: match effort {
                Effort::Correctness => 10_000,
                _ => 2 * limits::FLOWS as u32,
            },
            embryonic: limits::EMBRYONIC as u32 / 2,
            slots: SLOTS,
            highest_ifindex: IFINDEX,
        };
        let options = Options {
            hash_key: HASH_KEY,
            gue_port: 6080,
            pair_port: u16::from(kind == Kind::Leased) * PAIR_PORT,
            sizes,
            interfaces: None,
            log_level: 0,
        };
        let mut ebpf = load::open(OBJECT, &options, &BTreeMap::new())?;
        load::load_set(&mut ebpf, ProgramSet::Linear)?;
        let path = load::program(&mut ebpf, ProgramSet::Linear.entry())?;
        let path = path.fd()?.try_clone()?;
        let slots = Slots::map(
            crate::dataplane::bpf::fd(&ebpf, "SLOTS")?,
            sizes.slots as usize,
        )?;
        let mut servers = Servers::open(&ebpf)?;
        for op in plan(&Tables::default(), &scene.tables) {
            write::apply(&mut ebpf, &slots, &mut servers, &op)?;
        }
        if kind == Kind::Leased {
            let leases = crate::dataplane::bpf::fd(&ebpf, "LEASES")?;
            let leases = Slots::map(leases, lease::COUNT)?;
            ensure!(
                leases.store(lease::forward(0) as usize, Slot(u64::MAX)),
                "no lease"
            );
        }
        if kind == Kind::Modes {
            flows::fill(&mut ebpf, &scene, effort)?;
        }
        let interfaces = &scene.tables.interfaces;
        let interface = *interfaces.get(&IFINDEX).context("the interface")?;
        Ok(Self {
            scene,
            ebpf,
            path,
            interface,
        })
    }

    /// How many packets have ended in each reason.
    pub fn counted(&self) -> Result<Vec<u64>> {
        let map = self.ebpf.map("COUNTERS").context("COUNTERS")?;
        let counters: PerCpuArray<_, Counter> = map.try_into()?;
        let first = self.interface.slot * Reason::COUNT as u32;
        (first..first + Reason::COUNT as u32)
            .map(|index| {
                let values = counters.get(&index, 0)?;
                Ok(values.iter().map(|counter| counter.packets).sum())
            })
            .collect()
    }
}

/// The wrapper and the programs to compare with.
pub struct Wrapper {
    ebpf: Ebpf,
    programs: BTreeMap<&'static str, ProgramFd>,
    out: Vec<u8>,
    length: usize,
    _hold: Hold,
}

/// What a test run gave.
pub struct Ran {
    /// CPU time of this thread for the whole of it.
    pub time: Duration,
    /// XDP action of the last run.
    pub action: u32,
}

impl Wrapper {
    /// Loads them.
    pub fn new(effort: Effort) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        if effort == Effort::Correctness {
            loader.map_max_entries("PLAIN_LRU", 1 << 16);
        }
        let mut ebpf = loader.load(BENCH)?;
        let mut programs = BTreeMap::new();
        for name in [
            "wrapper4",
            "wrapper6",
            "empty",
            "mac_swap",
            "constant_ipip",
            "plain_lru",
        ] {
            let program = load::load_program(&mut ebpf, name)?;
            programs.insert(name, program.fd()?.try_clone()?);
        }
        let hold = Hold::new(&mut ebpf, &["wrapper4", "wrapper6", "empty", "mac_swap"])?;
        flows::fill_lru(&mut ebpf, effort)?;
        Ok(Self {
            ebpf,
            programs,
            out: vec![0; 4096],
            length: 0,
            _hold: hold,
        })
    }

    /// Makes everything ready for the case, to begin with flow `next`.
    pub fn set(&mut self, bed: &mut Bed, case: &Case, next: u32) -> Result<()> {
        let program = match case.program {
            Program::Path => &bed.path,
            Program::Wrapped(name) | Program::Bare(name) => {
                self.programs.get(name).context("the program")?
            }
        };
        let map = self.ebpf.map_mut("MEASURED").context("MEASURED")?;
        ProgramArray::try_from(map)?.set(0, program, 0)?;
        let map = self.ebpf.map_mut("TEMPLATE").context("TEMPLATE")?;
        let mut template: Array<_, Template> = map.try_into()?;
        template.set(0, self::template(case, next)?, 0)?;
        let map = bed.ebpf.map_mut("INTERFACES").context("INTERFACES")?;
        let mut interfaces: Array<_, Interface> = map.try_into()?;
        let mut interface = bed.interface;
        interface.flags ^= case.interface_flags;
        interfaces.set(IFINDEX, interface, 0)?;
        Ok(())
    }

    /// The flow that is next.
    pub fn next(&self) -> Result<u32> {
        let map = self.ebpf.map("TEMPLATE").context("TEMPLATE")?;
        let template: Array<_, Template> = map.try_into()?;
        Ok(template.get(&0, 0)?.next)
    }

    /// Runs the case that was [`Self::set`] so many times.
    pub fn run(&mut self, case: &Case, repeat: u32) -> Result<Ran> {
        let name = match case.program {
            Program::Bare(name) => name,
            _ if case.ipv6 => "wrapper6",
            _ => "wrapper4",
        };
        let program: &Xdp = self.ebpf.program(name).context("the program")?.try_into()?;
        let before = clock::thread_cpu();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&case.frame),
            data_out: Some(&mut self.out),
            repeat,
            ..TestRunOptions::new()
        });
        let time = clock::thread_cpu() - before;
        let result = result.with_context(|| format!("{} does not run", case.name))?;
        self.length = (result.data_size_out as usize).min(self.out.len());
        Ok(Ran {
            time,
            action: result.return_value,
        })
    }

    /// The packet as it was after the last run.
    pub fn out(&self) -> &[u8] {
        &self.out[..self.length]
    }
}

fn template(case: &Case, next: u32) -> Result<Template> {
    let mut head = case.frame.clone();
    head.resize(head.len().max(14 + WORDS6 * 4), 0);
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let ones = |set: bool| if set { u32::MAX } else { 0 };
    let client = case.varies != Varies::Destination;
    let servers = case.varies == Varies::Server;
    ensure!(case.flows > 0, "{} has no flow", case.name);
    Ok(Template {
        macs: [word(0), word(4), word(8)],
        ethertype: word(12) & u32::from_ne_bytes([0xff, 0xff, 0, 0]),
        words: std::array::from_fn(|at| word(14 + at * 4)),
        length: case.frame.len() as u32,
        flows: case.flows,
        step: step(case.flows),
        next,
        source: ones(client && case.flows > 1 << PORT_BITS),
        destination: ones(!client),
        destination_number: if servers { 0x0fff_u32.to_be() } else { 0 },
        ports: if case.flows == 1 {
            0
        } else if client {
            u32::from_ne_bytes([0xff, 0xff, 0, 0])
        } else {
            u32::from_ne_bytes([0, 0, 0xff, 0xff])
        },
        action: 0,
    })
}

/// About the golden section of `flows`, and coprime to it.
pub fn step(flows: u32) -> u32 {
    let golden = (u64::from(flows) * 618 / 1000) as u32;
    (golden.max(1)..)
        .find(|step| greatest_common_divisor(*step, flows) == 1)
        .unwrap_or(1)
        % flows.max(2)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_has_its_turn_once() {
        for flows in [1, 2, 3, 10, 1_000, 1_024, 4_096, 100_000] {
            let step = step(flows);
            let mut seen = vec![false; flows as usize];
            let mut number = 0;
            for _ in 0..flows {
                assert!(!std::mem::replace(&mut seen[number as usize], true));
                number += step;
                if number >= flows {
                    number -= flows;
                }
            }
            assert_eq!(number, 0, "{flows}");
        }
    }
}
