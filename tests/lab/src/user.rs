//! Being somebody else.

use std::io;
use std::thread;

use anyhow::{Result, bail};

/// Runs something in a thread that belongs to a user in one group: the kernel tells whoever it connects to.
pub fn run_as<T: Send>(
    user: u32,
    group: u32,
    what: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let become_and_run = || {
        become_user(user, group)?;
        what()
    };
    thread::scope(|scope| match scope.spawn(become_and_run).join() {
        Ok(result) => result,
        Err(_) => bail!("it panicked"),
    })
}

/// For the calling thread alone: the system calls know only threads, unlike the functions of the C library.
fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: plain numbers, and a list of one group that outlives the call.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 1, &raw const group),
            libc::syscall(libc::SYS_setresgid, group, group, group),
            libc::syscall(libc::SYS_setresuid, user, user, user),
        ]
    };
    if results == [0; 3] {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
