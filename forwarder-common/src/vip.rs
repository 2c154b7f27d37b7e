//! How the packet path finds a virtual server: an array of buckets, each the first of a short chain of entries.
//!
//! Plain arrays, since the kernel looks into them without a call, and a packet that is nobody's is told by one
//! word. An entry that packets may read is never changed: a bucket's chain is written anew elsewhere, then the
//! bucket's one word is stored.

use crate::abi::abi;
use crate::{V4, V6, VipKey, VirtualServer};

const M1: u64 = 0x9e37_79b9_7f4a_7c15;
const M2: u64 = 0xd6e8_feb8_6659_fd93;

/// Entries of a chain at most. With [`buckets`] for all, the chance that a random set of virtual servers has a
/// longer one is 1 in 10⁷.
pub const DEPTH: usize = 8;

/// A bucket's word, or an entry's `next`: no (further) entry.
pub const END: u32 = 0;

/// Buckets for so many virtual servers.
pub const fn buckets(servers: u32) -> u32 {
    servers.saturating_mul(4)
}

/// Entries for so many virtual servers: each may be written anew while the old entry is still read. The first
/// one is nobody's.
pub const fn entries(servers: u32) -> u32 {
    servers.saturating_mul(2).saturating_add(1 + DEPTH as u32)
}

abi! {
    /// An IPv4 virtual server and where it is found.
    pub struct VipEntry4 {
        /// The virtual server.
        pub server: VirtualServer,
        /// Its key.
        pub key: VipKey<V4>,
        /// Index of the bucket's next entry, or [`END`].
        pub next: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// An IPv6 virtual server and where it is found. One cache line.
    pub struct VipEntry6 {
        /// The virtual server.
        pub server: VirtualServer,
        /// Its key.
        pub key: VipKey<V6>,
        /// Index of the bucket's next entry, or [`END`].
        pub next: u32,
    }
}

/// An entry of either family.
pub trait VipEntry: Copy + Default {
    /// What it is found by.
    type Key: Copy + Ord;

    /// An entry.
    fn new(key: Self::Key, server: VirtualServer, next: u32) -> Self;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// Whether it has this key.
    fn is(&self, key: &Self::Key) -> bool;
    /// Its virtual server.
    fn server(&self) -> &VirtualServer;
    /// The next entry's index, or [`END`].
    fn next(&self) -> u32;
    /// The bucket of a key, of so many.
    fn bucket(key: &Self::Key, buckets: u32) -> u32;
}

/// The bucket of two words: all bits of both decide the high half.
#[inline(always)]
const fn bucket(a: u64, b: u64, buckets: u32) -> u32 {
    let mut hash = a.wrapping_mul(M1);
    hash ^= hash >> 32;
    hash = (hash ^ b).wrapping_mul(M2);
    crate::hash::slot_of((hash >> 32) as u32, buckets)
}

/// Two 32-bit words as one: compared and stored with one instruction.
#[inline(always)]
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl VipEntry for VipEntry4 {
    type Key = VipKey<V4>;

    #[inline(always)]
    fn new(key: Self::Key, server: VirtualServer, next: u32) -> Self {
        Self {
            server,
            key,
            next,
            reserved: 0,
        }
    }

    #[inline(always)]
    fn key(&self) -> Self::Key {
        self.key
    }

    #[inline(always)]
    fn is(&self, key: &Self::Key) -> bool {
        self.key.address == key.address && self.key.service == key.service
    }

    #[inline(always)]
    fn server(&self) -> &VirtualServer {
        &self.server
    }

    #[inline(always)]
    fn next(&self) -> u32 {
        self.next
    }

    #[inline(always)]
    fn bucket(key: &Self::Key, buckets: u32) -> u32 {
        bucket(join(key.address, key.service), 0, buckets)
    }
}

impl VipEntry for VipEntry6 {
    type Key = VipKey<V6>;

    #[inline(always)]
    fn new(key: Self::Key, server: VirtualServer, next: u32) -> Self {
        Self { server, key, next }
    }

    #[inline(always)]
    fn key(&self) -> Self::Key {
        self.key
    }

    #[inline(always)]
    fn is(&self, key: &Self::Key) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.key.address, key.address);
        a == e && b == f && c == g && d == h && self.key.service == key.service
    }

    #[inline(always)]
    fn server(&self) -> &VirtualServer {
        &self.server
    }

    #[inline(always)]
    fn next(&self) -> u32 {
        self.next
    }

    #[inline(always)]
    fn bucket(key: &Self::Key, buckets: u32) -> u32 {
        let [a, b, c, d] = key.address;
        // The service is no more than 24 bits: turned, so that it and the first words cancel nothing.
        let first = join(a, b) ^ join(0, key.service).rotate_left(8);
        bucket(first, join(c, d), buckets)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::virtual_server::service;
    use std::vec;

    /// The longest chain of so many keys.
    fn longest<E: VipEntry>(keys: impl Iterator<Item = E::Key>, count: u32) -> u32 {
        let mut lengths = vec![0; buckets(count) as usize];
        for key in keys {
            lengths[E::bucket(&key, buckets(count)) as usize] += 1;
        }
        lengths.into_iter().max().unwrap_or(0)
    }

    /// What people configure is anything but random: addresses and ports in a row.
    #[test]
    fn keys_in_a_row_spread() {
        const COUNT: u32 = 4_096;
        for ports in [1, 2, 16, 64, 1_000, COUNT] {
            let v4 = (0..COUNT).map(|number| VipKey {
                address: (0xcb00_7100 + number / ports).to_be(),
                service: service(((80 + number % ports) as u16).to_be(), 6),
            });
            assert!(longest::<VipEntry4>(v4, COUNT) <= 6, "{ports}");
            let v4 = (0..COUNT).map(|number| VipKey {
                address: (0x0a00_0001 + number / ports * 256).to_be(),
                service: service(((8_000 + number % ports) as u16).to_be(), 17),
            });
            assert!(longest::<VipEntry4>(v4, COUNT) <= 6, "{ports}");
            let v6 = (0..COUNT).map(|number| VipKey {
                address: [0x2001_0db8_u32.to_be(), 0, 0, (number / ports).to_be()],
                service: service(((443 + number % ports) as u16).to_be(), 6),
            });
            assert!(longest::<VipEntry6>(v6, COUNT) <= 6, "{ports}");
            let v6 = (0..COUNT).map(|number| VipKey {
                address: [0x2001_0db8_u32.to_be(), (number / ports).to_be(), 0, 1],
                service: service(((443 + number % ports) as u16).to_be(), 6),
            });
            assert!(longest::<VipEntry6>(v6, COUNT) <= 6, "{ports}");
        }
    }
}
