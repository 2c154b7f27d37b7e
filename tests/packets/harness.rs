//! The real programs, loaded, their maps filled from the model's tables, run by `BPF_PROG_TEST_RUN`.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Counter, Reason, TraceLog};
use forwarder_model::{Action, Environment, Fib, Model, Output, Tables, Tuple};

use crate::{maps, scene};

/// What the programs return.
mod verdict {
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
    pub const REDIRECT: u32 = 4;
}

/// Largest frame of a single-buffer test run.
pub const LARGEST: usize = 3_400;

/// A loaded object and the model beside it.
pub struct Harness {
    ebpf: Ebpf,
    set: ProgramSet,
    /// The model, fed with the same packets.
    pub model: Model,
    counted: Counted,
    buffer: Vec<u8>,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The program's return value.
    pub verdict: u32,
    /// The frame as it came out.
    pub frame: Vec<u8>,
    /// The reason that was counted.
    pub reason: Option<Reason>,
}

/// A packet about which program and model differ.
#[derive(Debug)]
pub struct Difference {
    /// What the program did.
    pub program: Ran,
    /// What the model says.
    pub model: Output,
}

impl Harness {
    /// Loads the object with `tables` in its maps. Call it inside the namespace.
    pub fn new(tables: Tables, set: ProgramSet) -> Result<Self> {
        let (path, object) = object()?;
        let mut loader = EbpfLoader::new();
        for (name, entries) in maps::SIZES {
            loader.map_max_entries(name, *entries);
        }
        for name in ["FLOWS4", "FLOWS6"] {
            loader.map_max_entries(name, tables.flow_capacity as u32);
        }
        let gue_port = tables.gue_port.to_be();
        let pair_port = tables.pair.as_ref().map_or(0, |pair| pair.port.to_be());
        loader
            .override_global("HASH_KEY", tables.hash_key.as_slice(), true)
            .override_global("GUE_PORT", &gue_port, true)
            .override_global("PAIR", &pair_port, true)
            .override_global("AYA_LOG_LEVEL", &0_u8, false);
        let mut ebpf = loader
            .load(&object)
            .with_context(|| format!("{path} does not load"))?;
        load_programs(&mut ebpf, set)?;
        maps::fill(&mut ebpf, &tables)?;
        let counted = Counted::new(&ebpf)?;
        Ok(Self {
            ebpf,
            set,
            model: Model { tables },
            counted,
            buffer: vec![0; 16_384],
        })
    }

    /// Changes the tables on both sides (the configuration part; flows stay).
    pub fn change(&mut self, change: impl FnOnce(&mut Tables)) -> Result<()> {
        change(&mut self.model.tables);
        maps::fill(&mut self.ebpf, &self.model.tables)
    }

    /// Fills the token buckets of the rate guard, so that time does not matter to what comes next.
    pub fn fill_buckets(&mut self) -> Result<()> {
        maps::fill_buckets(&mut self.ebpf, &self.model.tables)
    }

    /// The reason of a read-only run.
    pub fn traced(&mut self, ifindex: u32, frame: &[u8]) -> Result<Reason> {
        self.run_raw(ifindex, frame)?;
        let log: Array<_, TraceLog> = maps::typed(&mut self.ebpf, "TRACE")?;
        let reason = log.get(&0, 0)?.reason;
        Reason::ALL
            .get(reason as usize)
            .copied()
            .with_context(|| format!("reason {reason}"))
    }

    fn slot(&self, ifindex: u32) -> Option<u32> {
        use forwarder_common::interface::flags::ACTIVE;
        let interface = self.model.tables.interfaces.get(&ifindex)?;
        (interface.flags & ACTIVE != 0).then_some(interface.slot)
    }

    /// The program's return value and frame, no reason.
    pub fn run_raw(&mut self, ifindex: u32, frame: &[u8]) -> Result<Ran> {
        let program: &Xdp = self
            .ebpf
            .program(self.set.entry())
            .context("the entry program")?
            .try_into()?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let words = [0, frame.len() as u32, 0, ifindex, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut self.buffer),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .with_context(|| format!("test run of {} bytes on interface {ifindex}", frame.len()))?;
        let frame = self.buffer[..result.data_size_out as usize].to_vec();
        Ok(Ran {
            verdict: result.return_value,
            frame,
            reason: None,
        })
    }

    /// Runs a frame many times in a row, uncounted by this harness.
    pub fn run_often(&mut self, ifindex: u32, frame: &[u8], times: u32) -> Result<()> {
        let words = [0, frame.len() as u32, 0, ifindex, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let program = self.ebpf.program(self.set.entry());
        let program: &Xdp = program.context("the entry program")?.try_into()?;
        program.test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::default()
        })?;
        Ok(())
    }

    /// Runs a frame through program and model.
    pub fn compare(
        &mut self,
        ifindex: u32,
        frame: &[u8],
    ) -> Result<std::result::Result<Output, Box<Difference>>> {
        let raw = self.run_raw(ifindex, frame)?;
        let slot = self.slot(ifindex);
        let limited = raw.verdict == verdict::DROP
            && slot.is_some_and(|slot| self.counted.is_next(&self.ebpf, slot, Reason::DropRate));
        let output = self.model.run(ifindex, frame, &mut World { limited });
        let reason = match slot {
            Some(slot) => {
                Some(
                    self.counted
                        .observe(&self.ebpf, slot, output.reason, frame.len())?,
                )
            }
            None => None,
        };
        let program = Ran { reason, ..raw };
        if agree(&program, &output) {
            Ok(Ok(output))
        } else {
            Ok(Err(Box::new(Difference {
                program,
                model: output,
            })))
        }
    }

    /// As [`Self::compare`], with a panic that shows a difference.
    pub fn same(&mut self, name: &str, ifindex: u32, frame: &[u8]) -> Result<Output> {
        match self.compare(ifindex, frame)? {
            Ok(output) => Ok(output),
            Err(difference) => panic!("{name}\n{}", describe(ifindex, frame, &difference)),
        }
    }

    /// Every counter is what the runs so far add up to: one reason per packet, none besides.
    pub fn settle(&mut self) -> Result<()> {
        self.counted.settle(&self.ebpf)
    }

    /// The loaded object.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// A difference for a person.
pub fn describe(ifindex: u32, frame: &[u8], difference: &Difference) -> String {
    let Difference { program, model } = difference;
    format!(
        "in on {ifindex}: {}\nprogram: {} {:?}\n  {}\nmodel:   {:?} {:?}\n  {}",
        hex(frame),
        program.verdict,
        program.reason.map(Reason::name),
        hex(&program.frame),
        model.action,
        model.reason.map(Reason::name),
        hex(&model.frame),
    )
}

/// Bytes as hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn agree(program: &Ran, model: &Output) -> bool {
    let expected = match model.action {
        Action::Pass => verdict::PASS,
        Action::Drop => verdict::DROP,
        Action::Tx => verdict::TX,
        Action::Redirect(_) => verdict::REDIRECT,
    };
    // What a dropped packet's bytes are is nobody's business.
    program.verdict == expected
        && program.reason == model.reason
        && (model.action == Action::Drop || program.frame == model.frame)
}

/// What the model asks its surroundings.
pub struct World {
    /// The program said that the rate guard had the packet dropped.
    pub limited: bool,
}

impl Environment for World {
    fn admits(&mut self, _id: u32) -> bool {
        !self.limited
    }

    fn route(&mut self, tuple: &Tuple) -> Fib {
        scene::route(tuple)
    }
}

/// The object under test, and where it lies.
pub fn object() -> Result<(String, Vec<u8>)> {
    let path =
        std::env::var("FORWARDER_TEST_OBJECT").unwrap_or(env!("FORWARDER_OBJECT").to_owned());
    let object = std::fs::read(&path).with_context(|| format!("{path} cannot be read"))?;
    Ok((path, object))
}

fn load_programs(ebpf: &mut Ebpf, set: ProgramSet) -> Result<()> {
    let mut stages = Vec::new();
    for (index, name) in set.callees() {
        let name = format!("{name}{}", set.suffix());
        stages.push((index, load(ebpf, &name)?));
    }
    load(ebpf, set.entry())?;
    let map = ebpf
        .map_mut(set.stages())
        .with_context(|| format!("map {}", set.stages()))?;
    let mut array = aya::maps::ProgramArray::try_from(map)?;
    for (index, fd) in &stages {
        array.set(*index, fd, 0)?;
    }
    Ok(())
}

/// Loads one program of the object.
pub fn load(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?;
    program
        .load()
        .with_context(|| format!("program {name} does not load"))?;
    Ok(program.fd()?.try_clone()?)
}

/// The reason counters as last seen.
struct Counted {
    seen: Vec<Counter>,
}

impl Counted {
    fn new(ebpf: &Ebpf) -> Result<Self> {
        let slots = scene::INTERFACE_SLOTS as usize;
        let mut counted = Self {
            seen: vec![Counter::default(); slots * Reason::COUNT],
        };
        for at in 0..counted.seen.len() {
            counted.seen[at] = read(ebpf, "COUNTERS", at as u32)?;
        }
        Ok(counted)
    }

    fn at(slot: u32, reason: Reason) -> usize {
        slot as usize * Reason::COUNT + reason as usize
    }

    /// Whether this reason has been counted since it was last looked at.
    fn is_next(&self, ebpf: &Ebpf, slot: u32, reason: Reason) -> bool {
        let at = Self::at(slot, reason);
        read(ebpf, "COUNTERS", at as u32).is_ok_and(|counter| counter != self.seen[at])
    }

    /// The reason that one packet of `bytes` was counted under.
    fn observe(
        &mut self,
        ebpf: &Ebpf,
        slot: u32,
        guess: Option<Reason>,
        bytes: usize,
    ) -> Result<Reason> {
        for reason in guess.iter().chain(Reason::ALL) {
            let at = Self::at(slot, *reason);
            let now = read(ebpf, "COUNTERS", at as u32)?;
            let before = self.seen[at];
            if now != before {
                let step = (now.packets - before.packets, now.bytes - before.bytes);
                ensure!(
                    step == (1, bytes as u64),
                    "{}: {step:?} counted for {bytes} bytes",
                    reason.name()
                );
                self.seen[at] = now;
                return Ok(*reason);
            }
        }
        anyhow::bail!("the packet was not counted on the interface of slot {slot}")
    }

    fn settle(&self, ebpf: &Ebpf) -> Result<()> {
        for (at, seen) in self.seen.iter().enumerate() {
            let now: Counter = read(ebpf, "COUNTERS", at as u32)?;
            let (slot, reason) = (at / Reason::COUNT, Reason::ALL[at % Reason::COUNT]);
            ensure!(
                now == *seen,
                "slot {slot}, {}: {now:?} counted, {seen:?} seen",
                reason.name()
            );
        }
        Ok(())
    }
}

/// A per-CPU counter added up.
pub fn read(ebpf: &Ebpf, map: &str, index: u32) -> Result<Counter> {
    let map = ebpf.map(map).with_context(|| format!("map {map}"))?;
    let array: PerCpuArray<_, Counter> = map.try_into()?;
    let values = array.get(&index, 0)?;
    Ok(values.iter().fold(Counter::default(), |sum, one| Counter {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    }))
}
