//! Being somebody else.

use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

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

/// Copies a program to where everybody may run it.
///
/// Another process does that: a file that is written here may still be open in a child that another thread has
/// just forked, and cannot be run while it is.
pub fn copy_program(program: &Path, to: &Path) -> Result<()> {
    let mut install = Command::new("install");
    let status = install.args(["-m", "755"]).arg(program).arg(to).status();
    let status = status.context("install")?;
    ensure!(status.success(), "install {}: {status}", to.display());
    Ok(())
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
