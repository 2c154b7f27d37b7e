//! Loads the embedded object.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use aya::maps::ProgramArray;
use aya::programs::{ProgramError, ProgramFd, SocketFilter, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use forwarder_common::hash::HashKey;
use forwarder_common::programs::{CALLEES, ProgramSet};
use forwarder_common::{Reason, limits, vip};
use thiserror::Error;

use crate::dataplane::attach::Choice;

/// The embedded eBPF object, aligned as an ELF reader wants it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FORWARDER_OBJECT"));

/// The object does not load.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Maps could not be created, or the object is damaged.
    #[error("the eBPF object cannot be loaded: {0}")]
    Object(#[source] Box<EbpfError>),
    /// The object lacks a program or map.
    #[error("the eBPF object lacks {0}")]
    Missing(String),
    /// The kernel refused a program.
    #[error("the kernel refuses program {name}: {}", refusal(.source))]
    Program {
        /// The program's name.
        name: String,
        /// What it said.
        source: Box<ProgramError>,
    },
    /// A program array could not be filled.
    #[error("stage programs cannot be linked: {0}")]
    Stages(#[from] aya::maps::MapError),
}

/// What the kernel said; of the verifier's log the end, where the reason stands.
fn refusal(error: &ProgramError) -> String {
    const LINES: usize = 12;
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
    format!("{io_error}\n  {end}")
}

/// Sizes of maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Virtual servers, and distinct VIPs, per family.
    pub virtual_servers: u32,
    /// Counters and rate guards: virtual servers of both families and egress rules.
    pub virtual_server_ids: u32,
    /// Backends over all pools.
    pub backends: u32,
    /// Established NAT flows per family.
    pub flows: u32,
    /// Embryonic NAT flow entries per family.
    pub embryonic: u32,
    /// Lookup-table slots over all pools.
    pub slots: u32,
    /// Highest interface index of the host.
    pub highest_ifindex: u32,
}

impl Sizes {
    /// For a program that needs none of these maps.
    pub fn least(highest_ifindex: u32) -> Self {
        Self {
            virtual_servers: 1,
            virtual_server_ids: 1,
            backends: 1,
            flows: 1,
            embryonic: 1,
            slots: 1,
            highest_ifindex,
        }
    }
}

/// What the data plane is loaded with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Key of the flow hash.
    pub hash_key: HashKey,
    /// UDP destination port of GUE, host order.
    pub gue_port: u16,
    /// UDP port of the pair, host order; 0: there is none, and no lease is checked.
    pub pair_port: u16,
    /// Sizes of maps.
    pub sizes: Sizes,
    /// Entries of maps by interface index, where those are there already.
    pub interfaces: Option<u32>,
    /// Data-plane log level, 0 (off) to 5 (trace).
    pub log_level: u8,
}

/// Interfaces that come later have higher indices than those there are.
const IFINDEX_ROOM: u32 = 1024;

/// Bytes of flow events that wait for the daemon, about 90,000 of them: a power of 2 of pages.
const EVENTS: u32 = 8 << 20;

/// Entries of the maps whose size the options give.
pub fn sizes(options: &Options) -> Vec<(&'static str, u32)> {
    let Sizes {
        virtual_servers,
        virtual_server_ids,
        backends,
        flows,
        embryonic,
        slots,
        highest_ifindex,
    } = options.sizes;
    let ifindexes = options.interfaces.unwrap_or_else(|| {
        let room = highest_ifindex.saturating_add(IFINDEX_ROOM);
        room.max(limits::IFINDEX as u32)
    });
    let interface_counters = (limits::INTERFACES * Reason::COUNT) as u32;
    vec![
        ("INTERFACES", ifindexes),
        ("DEVICES", ifindexes),
        ("DEVICES_FRAGS", ifindexes),
        ("VIP_BUCKETS4", vip::buckets(virtual_servers)),
        ("VIP_BUCKETS6", vip::buckets(virtual_servers)),
        ("VIPS4", vip::entries(virtual_servers)),
        ("VIPS6", vip::entries(virtual_servers)),
        ("VIP_ADDRESSES4", virtual_servers),
        ("VIP_ADDRESSES6", virtual_servers),
        ("RATES", virtual_server_ids),
        (
            "VIRTUAL_SERVER_COUNTERS",
            virtual_server_ids.saturating_mul(2),
        ),
        ("BACKENDS", backends),
        ("BACKEND_COUNTERS", backends.saturating_mul(2)),
        ("SLOTS", slots),
        ("FLOWS4", flows.saturating_mul(2)),
        ("FLOWS6", flows.saturating_mul(2)),
        ("EMBRYONIC4", embryonic.saturating_mul(2)),
        ("EMBRYONIC6", embryonic.saturating_mul(2)),
        ("COUNTERS", interface_counters),
        (
            "FLOW_EVENTS",
            if options.pair_port != 0 {
                EVENTS
            } else {
                4_096
            },
        ),
    ]
}

/// Creates the maps, but for those that are `pinned`: these are used as they are. Programs are loaded by
/// [`load_set`].
pub fn open(
    object: &[u8],
    options: &Options,
    pinned: &BTreeMap<&'static str, PathBuf>,
) -> Result<Ebpf, LoadError> {
    let gue_port = options.gue_port.to_be();
    let pair = options.pair_port.to_be();
    let buckets = vip::buckets(options.sizes.virtual_servers);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("HASH_KEY", &options.hash_key, true)
        .override_global("GUE_PORT", &gue_port, true)
        .override_global("PAIR", &pair, true)
        .override_global("VIP_BUCKETS", &buckets, true)
        // Without logging calls in the programs the object has no level.
        .override_global("AYA_LOG_LEVEL", &options.log_level, false);
    for (map, entries) in sizes(options) {
        loader.map_max_entries(map, entries);
    }
    for (map, path) in pinned {
        loader.map_pin_path(map, path.as_path());
    }
    loader
        .load(object)
        .map_err(|error| LoadError::Object(Box::new(error)))
}

/// Loads the program sets that the choices need and that are not loaded yet.
pub fn load_sets(ebpf: &mut Ebpf, choices: &[Choice]) -> Result<(), LoadError> {
    let linear = |choice: &Choice| !choice.frags || choice.may_fall_back;
    for (set, needed) in [
        (ProgramSet::Linear, choices.iter().any(linear)),
        (ProgramSet::Frags, choices.iter().any(|each| each.frags)),
    ] {
        if needed && program(ebpf, set.entry())?.fd().is_err() {
            load_set(ebpf, set)?;
        }
    }
    Ok(())
}

/// Loads an entry program and its stages, and links them. The set can then be attached or run.
pub fn load_set(ebpf: &mut Ebpf, set: ProgramSet) -> Result<(), LoadError> {
    let mut stages = Vec::with_capacity(CALLEES);
    for (index, name) in set.callees() {
        let name = format!("{name}{}", set.suffix());
        let program = load_program(ebpf, &name)?;
        stages.push((index, descriptor(program, &name)?));
    }
    load_program(ebpf, set.entry())?;
    let array = ebpf
        .map_mut(set.stages())
        .ok_or_else(|| LoadError::Missing(set.stages().into()))?;
    let mut array: ProgramArray<_> = array.try_into()?;
    for (index, program) in &stages {
        array.set(*index, program, 0)?;
    }
    Ok(())
}

fn descriptor(program: &Xdp, name: &str) -> Result<ProgramFd, LoadError> {
    let refused = |source| LoadError::Program {
        name: name.to_owned(),
        source: Box::new(source),
    };
    let fd = program.fd().map_err(refused)?;
    fd.try_clone()
        .map_err(|error| refused(ProgramError::IOError(error)))
}

/// Loads one XDP program.
pub fn load_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let program = program(ebpf, name)?;
    program.load().map_err(|source| LoadError::Program {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(program)
}

/// Loads a filter of sockets; it stays loaded as long as this or a socket has it.
pub fn load_filter(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, LoadError> {
    let missing = || LoadError::Missing(format!("program {name}"));
    let refused = |source: ProgramError| LoadError::Program {
        name: name.to_owned(),
        source: source.into(),
    };
    let filter: &mut SocketFilter = ebpf
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(missing)?;
    filter.load().map_err(refused)?;
    let fd = filter.fd().map_err(refused)?;
    let fd = fd.as_fd().try_clone_to_owned();
    fd.map_err(|error| refused(ProgramError::IOError(error)))
}

/// A program of the object.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let missing = || LoadError::Missing(format!("program {name}"));
    ebpf.program_mut(name)
        .ok_or_else(missing)?
        .try_into()
        .map_err(|source| LoadError::Program {
            name: name.to_owned(),
            source: Box::new(source),
        })
}
