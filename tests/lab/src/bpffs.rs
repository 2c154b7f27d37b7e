//! A BPF filesystem of one's own, in a mount namespace of its own.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

/// A private BPF filesystem. It is gone, with what is pinned in it, when this and every process in it are.
pub struct BpfFs {
    file: File,
    path: PathBuf,
}

impl BpfFs {
    /// Mounts one at `path`, an existing directory, where only those who [`Self::enter`] see it.
    pub fn mount(path: &Path) -> Result<Self> {
        let file = thread::scope(|scope| scope.spawn(|| mount(path)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("mount a BPF filesystem at {}", path.display()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets a command see it.
    pub fn enter(&self, command: &mut Command) {
        let fd = self.file.as_raw_fd();
        // SAFETY: setns is async-signal-safe; the descriptor is inherited by the forked child and only
        // closed on exec.
        unsafe { command.pre_exec(move || set_namespace(fd)) };
    }

    /// Calls `work` on a thread that sees it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let fd = self.file.as_raw_fd();
        let worker = move || {
            // A thread that shares its working directory with others cannot change its mounts.
            unshare(libc::CLONE_FS).expect("a working directory of its own");
            set_namespace(fd).expect("setns into a namespace that is open");
            work()
        };
        thread::scope(|scope| scope.spawn(worker).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Makes it read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let flags = if read_only { libc::MS_RDONLY } else { 0 };
        Ok(self.run(|| mount_at(&self.path, c"none", libc::MS_REMOUNT | flags))?)
    }
}

fn mount(path: &Path) -> io::Result<File> {
    unshare(libc::CLONE_NEWNS)?;
    // What others unmount goes here too: a namespace that they delete must not live on.
    mount_at(Path::new("/"), c"none", libc::MS_REC | libc::MS_SLAVE)?;
    mount_at(path, c"bpf", 0)?;
    File::open("/proc/thread-self/ns/mnt")
}

fn mount_at(path: &Path, kind: &std::ffi::CStr, flags: libc::c_ulong) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: strings that end in a zero; no data.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            path.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    check(result)
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::unshare(flags) })
}

fn set_namespace(fd: i32) -> io::Result<()> {
    // SAFETY: no memory is passed; a bad descriptor is an error.
    check(unsafe { libc::setns(fd, libc::CLONE_NEWNS) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
