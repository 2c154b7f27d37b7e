//! The lookup table of a pool: which backend each slot has.
//!
//! A table depends on its members alone: not on their order, not on what was there before. So both
//! nodes of a pair, and a node before and after a restart, map every flow alike.
//! Why it is built this way and what was measured: `docs/decisions/0001-lookup-table.md`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

/// One unit of credit: a member that has it proposes a slot.
const ONE: u64 = 1 << 56;

struct Proposer {
    backend: u32,
    weight: u64,
    /// Slots still to get.
    wanted: u32,
    /// Slots proposed so far.
    proposed: u32,
    start: u32,
    /// Odd, as [`Self::factor`]: so each is a bijection of the slots.
    stride: u32,
    factor: u32,
    credit: u64,
}

impl Proposer {
    /// Proposals a unit of time: as if every slot were visited after a random time that is
    /// exponentially distributed with the weight as its rate.
    fn rate(&self, size: u32) -> u64 {
        self.weight * u64::from(size - self.proposed)
    }

    /// Takes the next slot if it is free; returns whether it was.
    fn propose(&mut self, table: &mut [u32]) -> bool {
        if self.wanted == 0 {
            return false;
        }
        let slot = self.next(table.len() as u32) as usize;
        let is_free = table[slot] == u32::MAX;
        if is_free {
            table[slot] = self.backend;
            self.wanted -= 1;
        }
        is_free
    }

    /// The next slot of its own order, in which each slot of `size` (a power of two) is once.
    ///
    /// Steps alone would do, but those of two members run in parallel for long stretches; mixed,
    /// the orders are independent.
    fn next(&mut self, size: u32) -> u32 {
        let (mask, half) = (size - 1, (size.trailing_zeros() / 2).max(1));
        let slot = self
            .proposed
            .wrapping_mul(self.stride)
            .wrapping_add(self.start)
            & mask;
        let slot = (slot ^ slot >> half).wrapping_mul(self.factor) & mask;
        self.proposed += 1;
        slot ^ slot >> half
    }
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
    let mut proposers = proposers(members, size);
    let mut table = vec![u32::MAX; size as usize];
    let mut free = size;
    while free > 0 {
        proposers.retain(|proposer| proposer.wanted > 0);
        let rates = proposers.iter().map(|proposer| proposer.rate(size));
        let unit = ONE.div_ceil(rates.max().unwrap_or(1).max(1));
        let mut credits: Vec<(u64, u64)> = proposers
            .iter()
            .map(|proposer| (proposer.credit, proposer.rate(size) * unit))
            .collect();
        // Rates change slowly; between looks at them this loop is an addition and a comparison.
        for _ in 0..(size / 256).max(1) {
            for (at, (credit, earned)) in credits.iter_mut().enumerate() {
                *credit += *earned;
                if *credit >= ONE {
                    *credit -= ONE;
                    let proposer = &mut proposers[at];
                    if proposer.propose(&mut table) {
                        free -= 1;
                    }
                    if proposer.wanted == 0 {
                        *earned = 0;
                    }
                }
            }
            if free == 0 {
                break;
            }
        }
        for (proposer, (credit, _)) in proposers.iter_mut().zip(credits) {
            proposer.credit = credit;
        }
    }
    table
}

/// The members in an order that their identity gives, with their shares.
fn proposers(members: &[Member], size: u32) -> Vec<Proposer> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let mut seeded: Vec<(u64, u64, &Member)> = members
        .iter()
        .map(|member| {
            let rest = u64::from(size) * u64::from(member.weight) % total;
            (rest, seed(member), member)
        })
        .collect();
    // Largest remainder: what is left over goes to those who were cut most.
    seeded.sort_by_key(|(rest, seed, member)| (u64::MAX - rest, *seed, **member));
    let whole = |member: &Member| (u64::from(size) * u64::from(member.weight) / total) as u32;
    let left = size.saturating_sub(members.iter().map(whole).sum()) as usize;
    let mut proposers: Vec<(u64, Proposer)> = seeded
        .into_iter()
        .enumerate()
        .map(|(rank, (_, seed, member))| {
            let again = mix(seed);
            let proposer = Proposer {
                backend: member.backend,
                weight: u64::from(member.weight),
                wanted: whole(member) + u32::from(rank < left),
                proposed: 0,
                start: (seed >> 32) as u32,
                stride: seed as u32 | 1,
                factor: again as u32 | 1,
                credit: again >> 8,
            };
            (seed, proposer)
        })
        .filter(|(_, proposer)| proposer.wanted > 0)
        .collect();
    proposers.sort_by_key(|(seed, _)| *seed);
    proposers
        .into_iter()
        .map(|(_, proposer)| proposer)
        .collect()
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
