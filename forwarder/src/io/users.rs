//! Users and groups, and who is at the other end of a unix socket.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The effective user and group of this process.
pub fn own() -> (u32, u32) {
    // SAFETY: these calls take nothing and always succeed.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// User and group of the process that connected a unix socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the option's value is a `ucred`; pointer and length are of one.
    let result = unsafe {
        let value = (&raw mut credentials).cast();
        let socket = socket.as_raw_fd();
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            value,
            &raw mut length,
        )
    };
    match result {
        0 => Ok((credentials.uid, credentials.gid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Further groups of that process.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the option's value is an array of group ids; pointer and length are of one.
        let result = unsafe {
            let value = groups.as_mut_ptr().cast();
            let socket = socket.as_raw_fd();
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                value,
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too many for the room: the kernel says how many there are, 65536 at most.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// A group's number; `None`: there is no such group.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    // SAFETY: all zeros is a valid `group`: null pointers and numbers.
    let mut group: libc::group = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    let mut room = vec![0; 64 << 10];
    // SAFETY: every pointer is of a value that outlives the call, the room's length is given.
    let result = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            &raw mut group,
            room.as_mut_ptr(),
            room.len(),
            &raw mut found,
        )
    };
    match result {
        0 if found.is_null() => Ok(None),
        0 => Ok(Some(group.gr_gid)),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
