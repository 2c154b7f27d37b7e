//! Offloads of a network device.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// `ETHTOOL_S…` commands of linux/ethtool.h that take one word.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Offload {
    ReceiveChecksum = 0x15,
    TransmitChecksum = 0x17,
    TcpSegmentation = 0x1f,
    Segmentation = 0x24,
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes a veth end behave like a real card as far as XDP can see: checksums are in the packet, and
/// no packet is larger than the MTU.
pub(crate) fn plain_packets(host: &Namespace, device: &str) -> Result<()> {
    use Offload::{ReceiveChecksum, Segmentation, TcpSegmentation, TransmitChecksum};
    for offload in [
        TransmitChecksum,
        TcpSegmentation,
        Segmentation,
        ReceiveChecksum,
    ] {
        switch_off(host, device, offload)?;
    }
    Ok(())
}

fn switch_off(host: &Namespace, device: &str, offload: Offload) -> Result<()> {
    host.run(|| ethtool(device, offload)).with_context(|| {
        format!(
            "ethtool {:#x} on {device} of {}",
            offload as u32,
            host.name()
        )
    })
}

fn ethtool(device: &str, offload: Offload) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut value = EthtoolValue {
        command: offload as u32,
        data: 0,
    };
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(room)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` and the `value` it points to live through the call and have the kernel's layout.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
