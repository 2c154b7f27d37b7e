//! Removes what was judged, not what has taken its place since.
//!
//! The packet path writes while the control plane reads: between a look at an entry and its removal the
//! ports of a flow may have begun another one, under the same key.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::Pod;

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
const BPF_NOEXIST: u64 = 1;

/// The part of the kernel's `union bpf_attr` that commands on one element use.
#[repr(C, align(8))]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Takes an entry out of a hash map, and puts it back unless `goes` says of its value that it is to go.
/// Returns whether it is gone by this; one that is not there is not.
pub fn remove_if<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    key: &K,
    goes: impl FnOnce(&V) -> bool,
) -> io::Result<bool> {
    let mut value = MaybeUninit::<V>::zeroed();
    let taken = element(
        map,
        BPF_MAP_LOOKUP_AND_DELETE_ELEM,
        key,
        value.as_mut_ptr(),
        0,
    );
    match taken {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        other => other?,
    }
    // SAFETY: plain data, and the kernel has written it.
    let mut value = unsafe { value.assume_init() };
    if goes(&value) {
        return Ok(true);
    }
    match element(map, BPF_MAP_UPDATE_ELEM, key, &raw mut value, BPF_NOEXIST) {
        // The packet path was faster.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        other => other.map(|()| false),
    }
}

fn element<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    command: libc::c_int,
    key: &K,
    value: *mut V,
    flags: u64,
) -> io::Result<()> {
    let attr = ElementAttr {
        map_fd: map.as_raw_fd().unsigned_abs(),
        padding: 0,
        key: std::ptr::from_ref(key).expose_provenance() as u64,
        value: value.expose_provenance() as u64,
        flags,
    };
    // SAFETY: the attribute, key and value outlive the call; key and value are plain data of the sizes
    // that the map was opened with.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of_val(&attr)) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use aya::maps::{HashMap, Map, MapData};

    use super::super::batch::tests::hash_map;
    use super::*;

    #[test]
    fn only_what_was_meant_goes() {
        let fd = hash_map(4, 12, 10);
        let data = MapData::from_fd(fd.try_clone().expect("a copy")).expect("a map");
        let map = Map::from_map_data(data).expect("a map");
        let mut map: HashMap<_, u32, [u32; 3]> = map.try_into().expect("a hash map");
        for key in 0..3 {
            map.insert(key, [key, 7, 9], 0).expect("room");
        }
        let remove = |key: u32, meant: u32| {
            let goes = |value: &[u32; 3]| value[0] == meant;
            remove_if(fd.as_fd(), &key, goes).expect("a map that can be changed")
        };
        assert!(remove(0, 0), "it was meant");
        assert!(!remove(0, 0), "it is gone already");
        assert!(!remove(1, 4), "another one was meant");
        let mut left: Vec<_> = map.iter().map(|entry| entry.expect("an entry")).collect();
        left.sort_unstable();
        assert_eq!(left, [(1, [1, 7, 9]), (2, [2, 7, 9])]);
    }
}
