//! The virtual servers in their arrays: see `forwarder_common::vip`.

use std::collections::BTreeMap;
use std::io;

use aya::maps::{Array, MapError};
use aya::{Ebpf, Pod};
use forwarder_common::{Slot, V4, V6, VipEntry, VipEntry4, VipEntry6, VipKey, VirtualServer, vip};

use super::batch::for_each_chunk;
use super::load::LoadError;
use super::slots::Slots;
use super::{fd, map_mut, under_way};

/// The virtual servers of both families.
#[derive(Debug)]
pub struct Servers {
    v4: Index<VipEntry4>,
    v6: Index<VipEntry6>,
}

impl Servers {
    /// Those that the maps hold.
    pub fn open(ebpf: &Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            v4: Index::open(ebpf, "VIP_BUCKETS4", "VIPS4")?,
            v6: Index::open(ebpf, "VIP_BUCKETS6", "VIPS6")?,
        })
    }

    /// Looks into the maps again, where somebody else may have written.
    pub fn reopen(&mut self, ebpf: &Ebpf) -> Result<(), LoadError> {
        *self = Self::open(ebpf)?;
        Ok(())
    }

    /// Adds, changes or removes one. It holds for every packet from now on.
    pub fn set4(
        &mut self,
        ebpf: &mut Ebpf,
        key: VipKey<V4>,
        server: Option<VirtualServer>,
    ) -> Result<(), LoadError> {
        self.v4.set(ebpf, key, server)
    }

    /// The same for IPv6.
    pub fn set6(
        &mut self,
        ebpf: &mut Ebpf,
        key: VipKey<V6>,
        server: Option<VirtualServer>,
    ) -> Result<(), LoadError> {
        self.v6.set(ebpf, key, server)
    }

    /// Every IPv4 virtual server.
    pub fn all4(&self) -> impl Iterator<Item = (VipKey<V4>, VirtualServer)> {
        self.v4.all()
    }

    /// Every IPv6 virtual server.
    pub fn all6(&self) -> impl Iterator<Item = (VipKey<V6>, VirtualServer)> {
        self.v6.all()
    }
}

/// An entry and where it is.
type Placed<E> = (u32, E);

/// The virtual servers of one family.
#[derive(Debug)]
struct Index<E> {
    buckets: Slots,
    size: u32,
    entries: &'static str,
    chains: BTreeMap<u32, Vec<Placed<E>>>,
    count: u32,
    free: Vec<u32>,
    /// In no chain any more, but a packet that is under way may still read them.
    resting: Vec<u32>,
}

impl<E: VipEntry + Pod> Index<E> {
    fn open(ebpf: &Ebpf, buckets: &'static str, entries: &'static str) -> Result<Self, LoadError> {
        let size = Array::<_, u64>::try_from(super::map(ebpf, buckets)?)?.len();
        let room = Array::<_, E>::try_from(super::map(ebpf, entries)?)?.len();
        let mapped = Slots::map(fd(ebpf, buckets)?, size as usize).map_err(MapError::IoError)?;
        let mut held = vec![E::default(); room as usize];
        for_each_chunk(fd(ebpf, entries)?, |indices: &[u32], values: &[E]| {
            for (index, value) in indices.iter().zip(values) {
                held[*index as usize] = *value;
            }
        })
        .map_err(MapError::IoError)?;
        let mut chains = BTreeMap::new();
        let mut used = vec![false; room as usize];
        for bucket in 0..size {
            let mut at = head(&mapped, bucket);
            let mut chain: Vec<Placed<E>> = Vec::new();
            while at != vip::END && chain.len() < vip::DEPTH {
                let Some(entry) = held.get(at as usize) else {
                    break;
                };
                used[at as usize] = true;
                chain.push((at, *entry));
                at = entry.next();
            }
            if !chain.is_empty() {
                chains.insert(bucket, chain);
            }
        }
        let unused = (1..room).filter(|index| !used[*index as usize]).collect();
        // Whoever wrote them may have done so just now.
        let (free, resting) = match chains.is_empty() {
            true => (unused, Vec::new()),
            false => (Vec::new(), unused),
        };
        Ok(Self {
            count: chains.values().map(|chain| chain.len() as u32).sum(),
            buckets: mapped,
            size,
            entries,
            chains,
            free,
            resting,
        })
    }

    fn all(&self) -> impl Iterator<Item = (E::Key, VirtualServer)> {
        let chains = self.chains.values().flatten();
        chains.map(|(_, entry)| (entry.key(), *entry.server()))
    }

    fn set(
        &mut self,
        ebpf: &mut Ebpf,
        key: E::Key,
        server: Option<VirtualServer>,
    ) -> Result<(), LoadError> {
        let bucket = E::bucket(&key, self.size);
        let old = self.chains.get(&bucket).cloned().unwrap_or_default();
        let others = old.iter().filter(|(_, entry)| !entry.is(&key));
        let mut wanted: Vec<_> = others
            .map(|(_, entry)| (entry.key(), *entry.server()))
            .collect();
        wanted.extend(server.map(|server| (key, server)));
        let count = self.count + wanted.len() as u32 - old.len() as u32;
        if wanted.len() > vip::DEPTH || vip::buckets(count) > self.size.max(vip::buckets(1)) {
            return Err(MapError::OutOfBounds {
                index: count,
                max_entries: self.size / vip::buckets(1),
            }
            .into());
        }
        let chain = self.write(ebpf, wanted)?;
        let first = chain.first().map_or(vip::END, |(at, _)| *at);
        self.buckets.store(bucket as usize, Slot(first.into()));
        self.resting.extend(old.iter().map(|(at, _)| *at));
        self.chains.insert(bucket, chain);
        self.count = count;
        Ok(())
    }

    /// Writes a chain where no packet looks.
    fn write(
        &mut self,
        ebpf: &mut Ebpf,
        servers: Vec<(E::Key, VirtualServer)>,
    ) -> Result<Vec<Placed<E>>, LoadError> {
        let mut array: Array<_, E> = map_mut(ebpf, self.entries)?.try_into()?;
        let mut chain = Vec::with_capacity(servers.len());
        let mut next = vip::END;
        for (key, server) in servers.into_iter().rev() {
            let at = self.take()?;
            let entry = E::new(key, server, next);
            if let Err(error) = array.set(at, entry, 0) {
                self.free.push(at);
                self.free.extend(chain.iter().map(|(at, _)| *at));
                return Err(error.into());
            }
            chain.push((at, entry));
            next = at;
        }
        chain.reverse();
        Ok(chain)
    }

    /// An entry that no packet reads.
    fn take(&mut self) -> Result<u32, LoadError> {
        if self.free.is_empty() {
            under_way::wait();
            self.free.append(&mut self.resting);
        }
        let none = || MapError::IoError(io::Error::other("no entry is free"));
        Ok(self.free.pop().ok_or_else(none)?)
    }
}

/// A bucket's first entry.
fn head(buckets: &Slots, bucket: u32) -> u32 {
    let word = buckets.load(bucket as usize);
    word.map_or(vip::END, |word| word.0 as u32)
}
