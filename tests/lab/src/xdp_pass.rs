//! An XDP program that does nothing.
//!
//! What XDP transmits on a veth end (`XDP_TX`) waits in the other end's ring until that end runs XDP
//! too: NAPI alone, which generic receive offload brings, only wakes up for redirected packets.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use crate::namespace::Namespace;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`, as instructions of linux/bpf.h.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The part of `union bpf_attr` that loading takes.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The part of `union bpf_attr` that attaching takes.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the program, natively. It stays as long as the result is kept.
pub(crate) fn attach(host: &Namespace, device: &str) -> Result<OwnedFd> {
    host.run(|| {
        let load = Load {
            program_type: BPF_PROG_TYPE_XDP,
            instruction_count: PASS.len() as u32,
            instructions: PASS.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
        };
        let program = bpf(BPF_PROG_LOAD, &load)?;
        let link = LinkCreate {
            program: program.as_raw_fd().cast_unsigned(),
            ifindex: index(device)?,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        bpf(BPF_LINK_CREATE, &link)
    })
    .with_context(|| format!("attach XDP to {device} of {}", host.name()))
}

/// The index of a device of the thread's namespace.
pub(crate) fn index(device: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(device)?;
    // SAFETY: `name` is a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Calls bpf(2) with a command that returns a descriptor.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` and what it points to live through the call; the kernel takes what lies
    // beyond its size as zero.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
