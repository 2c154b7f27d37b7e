//! The read-only run: one packet through the loaded programs and the live maps, writing none.

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{TestRun as _, TestRunOptions};
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Stage, TraceLog};
use thiserror::Error;

use super::load::{LoadError, program};

/// Room for what the packet becomes: the frame and an outer header.
const HEADROOM: usize = 256;
/// The kernel takes frames of at most a page less its own needs.
const LARGEST: usize = 3520;

/// A trace could not be made.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The frame is too long for a test run.
    #[error("a traced frame holds at most {LARGEST} bytes, this one has {0}")]
    TooLong(usize),
    /// The trace programs are not there.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel did not run it.
    #[error("the kernel did not run the packet: {0}")]
    Run(#[from] aya::programs::ProgramError),
    /// The trace could not be read.
    #[error("the trace cannot be read: {0}")]
    Read(#[from] aya::maps::MapError),
}

/// What became of a traced packet.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The XDP action.
    pub action: u32,
    /// The frame as it would have left.
    pub frame: Vec<u8>,
    /// The stages in order: stage, value, detail.
    pub entries: Vec<(Stage, u32, u64)>,
    /// The reason's ABI number.
    pub reason: u32,
}

/// Runs `frame` as if it had come in by `ifindex`.
pub fn run(ebpf: &mut Ebpf, frame: &[u8], ifindex: u32) -> Result<Traced, TraceError> {
    if frame.len() > LARGEST {
        return Err(TraceError::TooLong(frame.len()));
    }
    log(ebpf)?.set(0, TraceLog::default(), 0)?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let words = [0, frame.len() as u32, 0, ifindex, 0, 0];
    let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut out = vec![0; frame.len() + HEADROOM];
    let result = program(ebpf, ProgramSet::Trace.entry())?.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    })?;
    out.truncate(result.data_size_out as usize);
    let log = log(ebpf)?.get(&0, 0)?;
    let entries = log
        .entries
        .iter()
        .take(log.length as usize)
        .filter_map(|entry| {
            Some((
                *Stage::ALL.get(entry.stage as usize)?,
                entry.value,
                entry.detail,
            ))
        });
    Ok(Traced {
        action: result.return_value,
        frame: out,
        entries: entries.collect(),
        reason: log.reason,
    })
}

/// What the trace programs write into: they only append, so each run begins with an empty one.
fn log(ebpf: &mut Ebpf) -> Result<Array<&mut MapData, TraceLog>, TraceError> {
    let map = ebpf
        .map_mut("TRACE")
        .ok_or_else(|| LoadError::Missing("map TRACE".into()))?;
    Ok(map.try_into()?)
}
