//! What the first process asks of the kernel.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// File systems and where they go, in this order.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("bpf", "/sys/fs/bpf"),
];

pub fn mount_all() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target)?;
        mount(kind, target).with_context(|| format!("{kind} on {target}"))?;
    }
    Ok(())
}

fn mount(kind: &str, target: &str) -> io::Result<()> {
    let (kind, target) = (CString::new(kind)?, CString::new(target)?);
    // SAFETY: three C strings that live through the call, no flags, no data.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    check(result.into())
}

/// Loads a kernel module from a file that is not compressed.
pub fn load_module(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: an open file, an empty C string of parameters, no flags.
    check(unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) })
}

/// Restarts the machine (QEMU ends instead of doing so); returns only when that fails.
pub fn reboot() -> io::Error {
    // SAFETY: no arguments but the command; everything on disk is a copy in memory.
    unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    io::Error::last_os_error()
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
