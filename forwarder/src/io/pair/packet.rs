//! Frames on the wire as they are.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use log::warn;

/// A packet socket that only sends.
#[derive(Debug)]
pub struct Sender(Option<OwnedFd>);

impl Sender {
    /// Without the right to it (`CAP_NET_RAW`) nothing is sent, which is logged.
    pub fn open() -> Self {
        // SAFETY: no memory is passed. Protocol 0: nothing is received.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            warn!("VIPs cannot be announced (CAP_NET_RAW): {error}");
            return Self(None);
        }
        // SAFETY: the descriptor is new and ours.
        Self(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a frame, or not: announcements are repeated.
    pub fn send(&self, ifindex: u32, frame: &[u8]) {
        let Some(socket) = &self.0 else { return };
        // SAFETY: all zeros is a valid value of this plain struct.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_ifindex = ifindex.cast_signed();
        // SAFETY: the kernel reads the frame and the address.
        unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
    }
}
