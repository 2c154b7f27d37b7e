//! The XDP program of a device, run on frames that nobody sends (`BPF_PROG_TEST_RUN`): it does what it does to
//! real ones, in the maps of whoever attached it, without any queue that could lose them.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;
use crate::xdp_pass::index;

const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;

/// The part of `union bpf_attr` that a test run takes.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
}

/// A program, and the device that it is attached to.
pub struct Program {
    program: OwnedFd,
    ifindex: u32,
    /// The device's MAC address.
    pub mac: [u8; 6],
}

impl Program {
    /// What is attached to a host's device.
    ///
    /// # Errors
    /// When nothing is.
    pub fn at(host: &Namespace, device: &str) -> Result<Self> {
        let link = host.show(&["link", "show", device])?;
        let id = link[0]["xdp"]["prog"]["id"].as_u64();
        let id = id.with_context(|| format!("no XDP program at {device} of {}", host.name()))?;
        let attributes = [u32::try_from(id)?, 0, 0];
        // SAFETY: the attributes live through the call, and their size is given.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_FD_BY_ID,
                attributes.as_ptr(),
                size_of_val(&attributes),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("the program's descriptor");
        }
        Ok(Self {
            // SAFETY: the descriptor is new and ours.
            program: unsafe { OwnedFd::from_raw_fd(fd as i32) },
            ifindex: host.run(|| index(device))?,
            mac: crate::client::syn::parse_mac(&host.mac(device)?)?,
        })
    }

    /// Runs it on a frame: what it returns, and how long the frame is that is in `out` then. To be called on a
    /// thread that is in the host's namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(&self, frame: &[u8], out: &mut [u8]) -> io::Result<(u32, usize)> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, self.ifindex, 0, 0];
        let mut run = TestRun {
            program: self.program.as_raw_fd().cast_unsigned(),
            size_in: frame.len() as u32,
            size_out: out.len() as u32,
            data_in: frame.as_ptr().expose_provenance() as u64,
            data_out: out.as_mut_ptr().expose_provenance() as u64,
            context_in_size: size_of_val(&context) as u32,
            context_in: context.as_ptr().expose_provenance() as u64,
            ..TestRun::default()
        };
        // SAFETY: the attributes, the frame, the context and `out` live through the call, and are as long as they
        // say; the kernel takes what lies beyond the attributes' size as zero.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_TEST_RUN,
                &raw mut run,
                size_of::<TestRun>(),
            )
        };
        match result {
            0 => Ok((run.returned, run.size_out as usize)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
