//! The keyed flow hash: the same on both nodes of a pair, and in the daemon's `trace`.

use crate::{Affinity, SnatPool, V4, V6};

const M1: u64 = 0x9e37_79b9_7f4a_7c15;
const M2: u64 = 0xd6e8_feb8_6659_fd93;
const M3: u64 = 0xa076_1d64_78bd_642f;

/// 128-bit key of the flow hash.
pub type HashKey = [u64; 2];

/// Mixes two words under a key: three multiplications with folds between them.
#[inline(always)]
const fn mix(a: u64, b: u64, key: HashKey) -> u64 {
    let mut h = (a ^ key[0]).wrapping_mul(M1);
    h ^= h >> 32;
    h = (h ^ b ^ key[1]).wrapping_mul(M2);
    h ^= h >> 32;
    h.wrapping_mul(M3)
}

/// An address as the hash sees it.
pub trait HashAddress: Copy {
    /// Source and destination folded into one word under the key.
    fn pair(source: Self, destination: Self, key: HashKey) -> u64;
    /// The source alone folded into one word under the key.
    fn single(source: Self, key: HashKey) -> u64;
}

impl HashAddress for V4 {
    #[inline(always)]
    fn pair(source: Self, destination: Self, _key: HashKey) -> u64 {
        (source as u64) << 32 | destination as u64
    }

    #[inline(always)]
    fn single(source: Self, _key: HashKey) -> u64 {
        source as u64
    }
}

impl HashAddress for V6 {
    #[inline(always)]
    fn pair(source: Self, destination: Self, key: HashKey) -> u64 {
        Self::single(source, key) ^ Self::single(destination, [key[1], key[0]]).rotate_left(32)
    }

    #[inline(always)]
    fn single(source: Self, key: HashKey) -> u64 {
        mix(
            (source[0] as u64) << 32 | source[1] as u64,
            (source[2] as u64) << 32 | source[3] as u64,
            key,
        )
    }
}

/// Hash of a flow under an affinity; `ports` in wire order (see the crate docs).
#[inline(always)]
pub fn flow_hash<A: HashAddress>(
    source: A,
    destination: A,
    ports: u32,
    protocol: u8,
    affinity: Affinity,
    key: HashKey,
) -> u32 {
    let (addresses, rest) = match affinity {
        Affinity::FiveTuple => (
            A::pair(source, destination, key),
            (ports as u64) << 8 | protocol as u64,
        ),
        Affinity::Source => (A::single(source, key), 0),
        Affinity::SourceProtocol => (A::single(source, key), protocol as u64),
    };
    (mix(addresses, rest, key) >> 32) as u32
}

/// The slot in a table of `size` slots that a hash falls into (multiply-shift, no division).
#[inline(always)]
pub const fn slot_of(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

/// SNAT candidates that are tried for a new flow before it is refused.
pub const SNAT_ATTEMPTS: u32 = 32;

/// The `attempt`-th SNAT candidate of a flow: an index into the SNAT addresses, and a port in host
/// order. `hash` is the flow's 5-tuple hash.
#[inline(always)]
pub const fn snat_candidate(hash: u32, attempt: u32, pool: &SnatPool) -> (u32, u16) {
    let mut h = ((attempt as u64) << 32 | hash as u64).wrapping_mul(M2);
    h ^= h >> 29;
    h = h.wrapping_mul(M1);
    let address = ((h >> 32) * pool.count as u64) >> 32;
    let range = pool.port_high as u64 - pool.port_low as u64 + 1;
    let port = ((h & 0xffff_ffff) * range) >> 32;
    (pool.first + address as u32, pool.port_low + port as u16)
}
