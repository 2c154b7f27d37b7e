//! An XDP program that does nothing.
//!
//! What XDP transmits on a veth end (`XDP_TX`) waits in the other end's ring until that end runs XDP
//! too: NAPI alone, which generic receive offload brings, only wakes up for redirected packets.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`, as instructions of linux/bpf.h.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The part of `union bpf_attr` that loading takes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The part of `union bpf_attr` that attaching takes.
#[repr(C)]
#[derive(Clone, Copy)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the program, natively. It stays as long as the result is kept.
pub(crate) fn attach(host: &Namespace, device: &str) -> Result<OwnedFd> {
    let program = load()?;
    host.run(|| link(&program, index(device)?))
        .with_context(|| format!("attach XDP to {device} of {}", host.name()))
}

fn load() -> io::Result<OwnedFd> {
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    bpf(BPF_PROG_LOAD, &load)
}

/// Attaches a program to a device of the thread's namespace.
fn link(program: &OwnedFd, index: u32) -> io::Result<OwnedFd> {
    let link = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(BPF_LINK_CREATE, &link)
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

/// The part of `struct bpf_link_info` that is the same for every link, and XDP's own part.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    rest: [u64; 8],
}

/// Takes off the program with this id (as `ip link` shows it), behind the back of whoever attached it.
///
/// # Errors
/// When no link holds it, or the kernel refuses.
pub fn take_off(program: u32) -> Result<()> {
    let link = link_of(program, None)?.context("no link holds the program")?;
    call(BPF_LINK_DETACH, &mut [link.as_raw_fd().cast_unsigned()])?;
    Ok(())
}

/// Puts a program that passes everything in the place of the one at a device, behind the back of whoever attached
/// that. It stays as long as the result is kept.
///
/// # Errors
/// When its owner is quicker again and again, or the kernel refuses.
pub fn displace(host: &Namespace, device: &str) -> Result<OwnedFd> {
    let program = load()?;
    let index = host.run(|| index(device))?;
    for _ in 0..100 {
        let shown = host.show(&["link", "show", device])?;
        let id = shown[0]["xdp"]["prog"]["id"].as_u64();
        let held = id.map(|id| link_of(id as u32, Some(index)));
        let held = held.transpose()?.flatten();
        // Its owner is told at once: nothing comes between the two calls.
        let ours = host.run(|| {
            if let Some(held) = &held {
                call(BPF_LINK_DETACH, &mut [held.as_raw_fd().cast_unsigned()])?;
            }
            link(&program, index)
        });
        if let Ok(ours) = ours {
            return Ok(ours);
        }
    }
    bail!("{device} of {} always has a program", host.name())
}

/// The link that holds a program; `index`: at this device.
fn link_of(program: u32, index: Option<u32>) -> io::Result<Option<OwnedFd>> {
    let mut id = 0;
    loop {
        // `start_id`, `next_id`.
        let mut next = [id, 0];
        match call(BPF_LINK_GET_NEXT_ID, &mut next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        id = next[1];
        // Others may have gone meanwhile.
        let Ok(link) = bpf(BPF_LINK_GET_FD_BY_ID, &[id]) else {
            continue;
        };
        let mut info = LinkInfo::default();
        let address = (&raw mut info).expose_provenance() as u64;
        let mut attributes = [
            u64::from(link.as_raw_fd().cast_unsigned()) | (size_of::<LinkInfo>() as u64) << 32,
            address,
        ];
        let known = call(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).is_ok();
        let at = index.is_none_or(|index| info.rest[0] as u32 == index);
        if known && info.program == program && at {
            return Ok(Some(link));
        }
    }
}

/// Calls bpf(2) with a command that returns a descriptor.
fn bpf<T: Copy>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let fd = call(command, &mut { *attributes })?;
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Calls bpf(2).
fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` and what it points to live through the call; the kernel takes what lies
    // beyond its size as zero.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
