//! What a driver says of itself, and what it is told, by ioctl: sysfs may show another network namespace's interfaces.

mod statistics;

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

pub use statistics::statistics;

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

/// What the kernel reads and writes: the command first, then what the command defines.
///
/// # Safety
/// The type has the layout and at least the size of what the kernel writes for the command in its first word.
unsafe trait Request {}

/// The kernel's `struct ethtool_drvinfo`; what follows is the firmware and others.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [c_char; 32],
    version: [c_char; 32],
    rest: [u8; 112],
    n_stats: u32,
    end: [u8; 12],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
struct ChannelCounts {
    command: u32,
    /// Largest numbers of receive, transmit, other and combined channels; then those in use.
    counts: [u32; 8],
}

// SAFETY: 196 bytes, as the kernel's structure.
unsafe impl Request for DriverInfo {}
// SAFETY: two words, as the kernel's structure.
unsafe impl Request for Value {}
// SAFETY: nine words, as the kernel's structure.
unsafe impl Request for ChannelCounts {}

fn ask<R: Request>(device: &str, request: &mut R) -> io::Result<()> {
    // SAFETY: `R` has what the kernel writes, as its implementation promises.
    unsafe { ask_at(device, (&raw mut *request).cast()) }
}

/// # Safety
/// `at` points at what the kernel reads and writes for the command in its first word.
unsafe fn ask_at(device: &str, at: *mut c_char) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = at;
    // Any socket will do, in this thread's network namespace.
    // SAFETY: creates a descriptor, which is owned below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `socket` was just created and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the request names the device and points at what the caller promises.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.cast_unsigned()).collect();
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn info(device: &str) -> Option<DriverInfo> {
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        version: [0; 32],
        rest: [0; 112],
        n_stats: 0,
        end: [0; 12],
    };
    ask(device, &mut info).ok()?;
    Some(info)
}

/// Name of an interface's driver; `None`: the driver does not say.
pub fn driver(device: &str) -> Option<String> {
    let name = text(&info(device)?.driver);
    (!name.is_empty()).then_some(name)
}

/// Version of an interface's driver: the kernel's release for one that came with it.
pub fn driver_version(device: &str) -> Option<String> {
    let version = text(&info(device)?.version);
    (!version.is_empty()).then_some(version)
}

/// Queues of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// That receive, in use.
    pub receive: u32,
    /// That receive, at most.
    pub most: u32,
}

/// How many queues receive; `None`: the driver does not say.
pub fn channels(device: &str) -> Option<Channels> {
    let mut counts = ChannelCounts {
        command: ETHTOOL_GCHANNELS,
        counts: [0; 8],
    };
    ask(device, &mut counts).ok()?;
    let [most_rx, _, _, most_combined, rx, _, _, combined] = counts.counts;
    Some(Channels {
        receive: rx + combined,
        most: most_rx.max(most_combined),
    })
}

fn value(device: &str, command: u32) -> Option<u32> {
    let mut value = Value { command, data: 0 };
    ask(device, &mut value).ok()?;
    Some(value.data)
}

/// Offloads that XDP has to do with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Large receive offload.
    pub lro: bool,
    /// Generic receive offload.
    pub gro: bool,
    /// VLAN tags are taken off by the card.
    pub rx_vlan: bool,
}

/// Offloads in use.
pub fn offloads(device: &str) -> Offloads {
    let flags = value(device, ETHTOOL_GFLAGS).unwrap_or(0);
    Offloads {
        lro: flags & FLAG_LRO != 0,
        gro: value(device, ETHTOOL_GGRO).unwrap_or(0) != 0,
        rx_vlan: flags & FLAG_RX_VLAN != 0,
    }
}

/// What can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Switch {
    /// Checksums of packets that are sent (`ETHTOOL_STXCSUM`).
    TransmitChecksum = 0x17,
    /// Segmentation of TCP (`ETHTOOL_STSO`).
    TcpSegmentation = 0x1f,
    /// Segmentation in the stack (`ETHTOOL_SGSO`).
    Segmentation = 0x24,
    /// Generic receive offload (`ETHTOOL_SGRO`); with it a veth device polls, as a network card does.
    GenericReceive = 0x2c,
}

/// Switches an offload of an interface.
pub fn switch(device: &str, switch: Switch, on: bool) -> io::Result<()> {
    let mut value = Value {
        command: switch as u32,
        data: on.into(),
    };
    ask(device, &mut value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_says_little_and_nothing_breaks() {
        assert_eq!(driver("no-such-device-at-all"), None);
        assert_eq!(driver("nosuchdev"), None);
        assert_eq!(channels("lo"), None);
        assert!(!offloads("lo").lro);
        assert_eq!(statistics("lo"), []);
    }
}
