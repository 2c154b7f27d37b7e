//! The lookup-table slots, written in place: one store changes one slot, without a syscall.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, Map, MapData};
use forwarder_common::Slot;

/// The mapped slot array.
#[derive(Debug)]
pub struct Slots {
    words: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and is accessed through atomics only.
unsafe impl Send for Slots {}

impl Slots {
    /// Maps a `BPF_F_MMAPABLE` array of `length` slots.
    pub fn map(array: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let bytes = length * size_of::<Slot>();
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel checks that the
        // map is mmapable and large enough.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                array.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words =
            NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { words, length })
    }

    /// Stores a slot. `false`: the index is beyond the array.
    pub fn store(&self, index: usize, slot: Slot) -> bool {
        if index >= self.length {
            return false;
        }
        // SAFETY: within the mapping, which is page-aligned and lives as long as `self`.
        let word = unsafe { self.words.add(index).as_ref() };
        word.store(slot.0, Ordering::Release);
        true
    }

    /// Reads a slot.
    pub fn load(&self, index: usize) -> Option<Slot> {
        // SAFETY: as in `store`.
        (index < self.length)
            .then(|| Slot(unsafe { self.words.add(index).as_ref() }.load(Ordering::Acquire)))
    }
}

/// Slots of a pinned array: `count` from `base`; `None`: they are not there.
pub fn read_pinned(path: &Path, base: u32, count: u32) -> Option<Vec<Slot>> {
    let map = Map::from_map_data(MapData::from_pin(path).ok()?).ok()?;
    let map: Array<_, Slot> = map.try_into().ok()?;
    let end = base.checked_add(count)?;
    (base..end).map(|index| map.get(&index, 0).ok()).collect()
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length; nothing borrows from it.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.length * size_of::<Slot>()) };
    }
}
