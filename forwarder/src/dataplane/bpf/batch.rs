//! `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH`: thousands of entries at a time.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::Pod;

/// Entries asked for at once, to begin with.
const CHUNK: usize = 4096;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// The part of the kernel's `union bpf_attr` that batch commands use.
#[repr(C, align(8))]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk goes on: a bucket number of 4 bytes in hash maps, the last key in arrays and tries.
type Cursor = [u64; 8];

/// Calls `each` with every entry of a hash map, array or trie, in chunks. Entries that come or go
/// meanwhile may or may not be seen; none that stays is missed or seen twice, as a hash bucket is
/// read as a whole. Keys have at most 64 bytes.
pub fn for_each_chunk<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(&[K], &[V]),
) -> io::Result<()> {
    let walked = try_for_each_chunk(map, |keys: &[K], values: &[V]| {
        each(keys, values);
        ControlFlow::Continue(())
    });
    walked.map(|_| ())
}

/// The same, until `each` breaks.
pub fn try_for_each_chunk<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(&[K], &[V]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut keys = vec![K::default(); CHUNK];
    let mut values = vec![V::default(); CHUNK];
    if size_of::<K>() > size_of::<Cursor>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut cursor: Option<Cursor> = None;
    loop {
        let (count, next) = match lookup(map, cursor, &mut keys, &mut values, 1) {
            // One bucket holds more than the chunk: nothing was read, ask again with more room.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                let room = keys.len() * 2;
                keys.resize(room, K::default());
                values.resize(room, V::default());
                continue;
            }
            other => other?,
        };
        if each(&keys[..count], &values[..count]).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match next {
            Some(_) => cursor = next,
            None => return Ok(ControlFlow::Continue(())),
        }
    }
}

/// A walk over a hash map that goes on when it is asked to, as [`for_each_chunk`] does by itself.
#[derive(Debug)]
pub struct Walk<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    cursor: Option<Cursor>,
    over: bool,
}

impl<K, V> Default for Walk<K, V> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            cursor: None,
            over: false,
        }
    }
}

impl<K: Pod + Default, V: Pod + Default> Walk<K, V> {
    /// The next entries, about so many; `None`: there are no more.
    pub fn next(&mut self, map: BorrowedFd<'_>, about: usize) -> io::Result<Option<(&[K], &[V])>> {
        if self.over {
            return Ok(None);
        }
        let mut room = self.keys.len().max(about);
        loop {
            self.keys.resize(room, K::default());
            self.values.resize(room, V::default());
            match lookup(map, self.cursor, &mut self.keys, &mut self.values, 1) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
                Err(error) => return Err(error),
                Ok((count, next)) => {
                    self.over = next.is_none();
                    self.cursor = next;
                    return Ok(Some((&self.keys[..count], &self.values[..count])));
                }
            }
        }
    }
}

/// Writes entries to a hash map. Returns how many could not be written. Keys and values are as many, of the
/// map's types.
pub fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> usize {
    let (mut at, mut refused) = (0, 0);
    let all = keys.len().min(values.len());
    while at < all {
        let mut attr = BatchAttr {
            keys: keys[at..].as_ptr().expose_provenance() as u64,
            values: values[at..].as_ptr().expose_provenance() as u64,
            count: u32::try_from(all - at).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd().unsigned_abs(),
            ..BatchAttr::default()
        };
        // SAFETY: the attribute outlives the call; the buffers hold `count` keys and values of plain data,
        // whose sizes are the map's (the callers' maps are opened with these types).
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_UPDATE_BATCH,
                &raw mut attr,
                size_of::<BatchAttr>(),
            )
        };
        if result == 0 {
            break;
        }
        let written = attr.count as usize;
        if written >= all - at {
            // Nothing was even tried.
            return refused + (all - at);
        }
        // The one that was refused is passed over.
        at += written + 1;
        refused += 1;
    }
    refused
}

/// Calls `each` with the values of the first elements of a per-CPU array: index, and the values of
/// every CPU. Values have a multiple of 8 bytes, and `cpus` is how many CPUs the kernel may have.
pub fn for_each_per_cpu<V: Pod + Default>(
    map: BorrowedFd<'_>,
    cpus: usize,
    elements: u32,
    mut each: impl FnMut(u32, &[V]),
) -> io::Result<()> {
    if !size_of::<V>().is_multiple_of(8) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut keys = vec![0_u32; CHUNK];
    let mut values = vec![V::default(); CHUNK * cpus];
    let mut cursor = None;
    loop {
        let (count, next) = lookup(map, cursor, &mut keys, &mut values, cpus)?;
        for (key, values) in keys.iter().zip(values.chunks_exact(cpus)).take(count) {
            if *key < elements {
                each(*key, values);
            }
        }
        let last = keys.get(count.wrapping_sub(1));
        match next {
            Some(_) if last.is_some_and(|last| last + 1 < elements) => cursor = next,
            _ => return Ok(()),
        }
    }
}

/// Reads one chunk: how many entries, and where to go on, if there is more. A key has `each` values.
fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: Option<Cursor>,
    keys: &mut [K],
    values: &mut [V],
    each: usize,
) -> io::Result<(usize, Option<Cursor>)> {
    let room = keys.len().min(values.len() / each);
    let mut next = Cursor::default();
    let mut attr = BatchAttr {
        in_batch: cursor
            .as_ref()
            .map_or(0, |cursor| std::ptr::from_ref(cursor).addr() as u64),
        out_batch: (&raw mut next).expose_provenance() as u64,
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().unsigned_abs(),
        ..BatchAttr::default()
    };
    // SAFETY: the attribute outlives the call; the buffers hold `count` keys and `each` values per key, of plain
    // data, whose sizes are the map's (the callers' maps are opened with these types); the cursors
    // hold 64 bytes, and hash maps use 4 of them, others as many as a key has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut attr,
            size_of::<BatchAttr>(),
        )
    };
    let count = attr.count as usize;
    if result == 0 {
        return Ok((count, Some(next)));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // The end; what was read before it counts.
        Some(libc::ENOENT) => Ok((count, None)),
        _ => Err(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

    use aya::maps::{HashMap, Map, MapData};

    use super::*;

    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_HASH: u32 = 1;

    pub fn hash_map(key: usize, value: usize, entries: u32) -> OwnedFd {
        // Type, key size, value size, entries, flags.
        let attr = [BPF_MAP_TYPE_HASH, key as u32, value as u32, entries, 0];
        // SAFETY: the attribute is the beginning of `union bpf_attr`, and its size is given.
        let fd = unsafe {
            let size = size_of_val(&attr);
            libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attr.as_ptr(), size)
        };
        let fd = i32::try_from(fd).expect("a descriptor");
        assert!(fd >= 0, "maps need root: {}", io::Error::last_os_error());
        // SAFETY: just created, owned by nobody else.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    #[test]
    fn entries_are_written_and_walked_over() {
        let fd = hash_map(4, 8, 1_000);
        let keys: Vec<u32> = (0..900).collect();
        let values: Vec<u64> = keys.iter().map(|key| u64::from(*key) * 3).collect();
        assert_eq!(update(fd.as_fd(), &keys, &values), 0);
        let keys: Vec<u32> = (800..1_100).collect();
        assert_eq!(
            update(fd.as_fd(), &keys, &[7_u64; 300]),
            100,
            "no room for the last"
        );
        let mut seen = BTreeMap::new();
        let mut walk = Walk::<u32, u64>::default();
        while let Some((keys, values)) = walk.next(fd.as_fd(), 64).expect("a walk") {
            seen.extend(keys.iter().copied().zip(values.iter().copied()));
        }
        assert_eq!(seen.len(), 1_000);
        assert_eq!((seen[&799], seen[&800], seen[&999]), (799 * 3, 7, 7));
    }

    #[test]
    fn every_entry_is_seen_once() {
        for entries in [0_u32, 1, 100, 20_000] {
            let fd = hash_map(4, 8, 20_000);
            let data = MapData::from_fd(fd.try_clone().expect("a copy")).expect("a map");
            let map = Map::from_map_data(data).expect("a map");
            let mut map: HashMap<_, u32, u64> = map.try_into().expect("a hash map");
            for key in 0..entries {
                map.insert(key, u64::from(key) * 3, 0).expect("room");
            }
            let mut seen = BTreeMap::new();
            for_each_chunk(fd.as_fd(), |keys: &[u32], values: &[u64]| {
                for (key, value) in keys.iter().zip(values) {
                    assert_eq!(seen.insert(*key, *value), None, "{key} twice");
                }
            })
            .expect("a walk");
            assert_eq!(seen.len(), entries as usize);
            assert!(
                seen.iter()
                    .all(|(key, value)| u64::from(*key) * 3 == *value)
            );
        }
    }
}
