//! The other node of a pair: what its echoes are told by, and what it has answered to ours.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use aya::Ebpf;
use forwarder_common::V4;
use forwarder_common::V6;
use forwarder_common::peer::{Arrival, PATHS, PathKey, Peer, kind};

use super::load::LoadError;
use super::slots::Slots;
use super::write::{array, hash};
use crate::core::key::{word, words};
use crate::core::pair::liveness::Answerer;

/// Words of an arrival.
const WORDS: usize = size_of::<Arrival>() / size_of::<u64>();

/// Lets the data plane answer and note echoes. `paths`: this node's end and the other's.
pub fn store(ebpf: &mut Ebpf, peer: &Peer, paths: &[(IpAddr, IpAddr)]) -> Result<(), LoadError> {
    // Beyond these the daemon answers.
    for ends in paths.iter().take(PATHS) {
        match *ends {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let (own, peer) = (word(own), word(peer));
                hash(ebpf, "PATHS4", PathKey::<V4> { own, peer }, Some(1_u32))?;
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let (own, peer) = (words(own), words(peer));
                hash(ebpf, "PATHS6", PathKey::<V6> { own, peer }, Some(1_u32))?;
            }
            _ => {}
        }
    }
    array(ebpf, "PEER", 0, Some(*peer))
}

/// The latest answers, read without a syscall.
#[derive(Debug)]
pub struct Arrivals(Slots);

impl Arrivals {
    pub(super) fn map(array: BorrowedFd<'_>) -> io::Result<Self> {
        Slots::map(array, PATHS * WORDS).map(Self)
    }

    /// The latest answer on a path: the number of the echo, when it came on the monotonic clock, and who
    /// gave it. `None`: there is none.
    pub fn latest(&self, path: usize) -> Option<(u64, Duration, Answerer)> {
        let word = |at| {
            let word = self.0.load(path * WORDS + at);
            word.map(|word| word.0)
        };
        let sequence = word(0).filter(|sequence| *sequence != 0)?;
        let by = match word(2)? {
            by if by == u64::from(kind::REFLECTION) => Answerer::DataPlane,
            _ => Answerer::Daemon,
        };
        Some((sequence, Duration::from_nanos(word(1)?), by))
    }
}
