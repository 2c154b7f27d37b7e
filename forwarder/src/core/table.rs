//! The lookup table of a pool: which backend each slot has.
//!
//! A table depends on its members alone: not on their order, not on what was there before. So both
//! nodes of a pair, and a node before and after a restart, map every flow alike.
//! From one set of members to another it is changed where they differ ([`Filling`]), with the outcome of filling it anew.
//! Why it is built this way and what was measured: `docs/decisions/0001-lookup-table.md`.

mod filling;
mod order;
mod rest;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use filling::Filling;

/// A backend that takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Address.
    pub address: IpAddr,
    /// Port, host order; 0: the packet's.
    pub port: u16,
    /// Share of new flows; not 0. In tenths where the pool has slow start.
    pub weight: u16,
    /// What the slots hold.
    pub backend: u32,
}

/// Slots for each backend that a pool has, before rounding up.
const SLOTS_PER_BACKEND: u32 = 256;
/// Below this, adding a backend moves noticeably more slots than it must.
const SMALLEST: u32 = 16_384;
/// 8 MiB.
const LARGEST: u32 = 1 << 20;

/// The size of a table for a pool of `backends` configured backends, up or not: a power of two, so
/// that a table of one size can stand in for one of another (see [`super::slots`]).
pub fn size(backends: usize) -> u32 {
    match u32::try_from(backends) {
        Ok(0 | 1) => 1,
        Ok(backends) => backends
            .saturating_mul(SLOTS_PER_BACKEND)
            .clamp(SMALLEST, LARGEST)
            .next_power_of_two()
            .min(LARGEST),
        Err(_) => LARGEST,
    }
}

/// By how many bits every table larger than one slot must shrink for all of them to fit in `room`
/// slots: 0 unless there are very many pools. Depends on the file alone, as the tables do.
pub fn shift(sizes: impl Iterator<Item = u32> + Clone, room: u32) -> u32 {
    (0..20)
        .find(|shift| {
            sizes
                .clone()
                .map(|size| u64::from(scaled(size, *shift)))
                .sum::<u64>()
                <= u64::from(room)
        })
        .unwrap_or(20)
}

/// A size after [`shift`].
pub fn scaled(size: u32, shift: u32) -> u32 {
    (size >> shift).max(1)
}

/// Fills a table of `size` slots (a power of two). Empty without members.
///
/// Every member visits all slots in an order of its own, at a speed that follows its weight, and
/// takes those it finds free until it has its exact share. Who gets a slot is thus a matter
/// between the slot and the members alone (weighted rendezvous), save near the end, when the
/// shares fill up; so a member that comes or goes moves hardly more than its own share.
pub fn build(members: &[Member], size: u32) -> Vec<u32> {
    if members.is_empty() {
        return Vec::new();
    }
    let mut members = members.to_vec();
    members.sort_unstable();
    let mut filling = Filling::new(size);
    filling.set(&members);
    filling.table()
}

/// A number that address and port give.
fn seed(member: &Member) -> u64 {
    let bits = match member.address {
        IpAddr::V4(address) => u128::from(address.to_bits()) | 0xffff << 32,
        IpAddr::V6(address) => address.to_bits(),
    };
    mix(mix(mix(bits as u64) ^ (bits >> 64) as u64) ^ u64::from(member.port))
}

/// Spreads every bit of a word over all of them (the finalizer of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests;
