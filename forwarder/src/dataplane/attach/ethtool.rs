//! What a driver says of itself, by ioctl: sysfs may show another network namespace's interfaces.

use std::ffi::c_char;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// The string set of `ETHTOOL_GSTATS`.
const ETH_SS_STATS: u32 = 1;
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;
/// Length of a counter's name.
const NAME: usize = 32;
/// More counters than any driver has.
const MOST_COUNTERS: usize = 16_384;

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

fn ask<R: Request>(device: &str, request: &mut R) -> Option<()> {
    // SAFETY: `R` has what the kernel writes, as its implementation promises.
    unsafe { ask_at(device, (&raw mut *request).cast()) }
}

/// # Safety
/// `at` points at what the kernel reads and writes for the command in its first word.
unsafe fn ask_at(device: &str, at: *mut c_char) -> Option<()> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = at;
    // SAFETY: creates a descriptor, which is owned below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return None;
    }
    // SAFETY: `socket` was just created and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the request names the device and points at what the caller promises.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (result >= 0).then_some(())
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
    ask(device, &mut info)?;
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
    ask(device, &mut counts)?;
    let [most_rx, _, _, most_combined, rx, _, _, combined] = counts.counts;
    Some(Channels {
        receive: rx + combined,
        most: most_rx.max(most_combined),
    })
}

fn value(device: &str, command: u32) -> Option<u32> {
    let mut value = Value { command, data: 0 };
    ask(device, &mut value)?;
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

/// The driver's own counters, by name; empty where it has none.
pub fn statistics(device: &str) -> Vec<(String, u64)> {
    read_statistics(device).unwrap_or_default()
}

fn read_statistics(device: &str) -> Option<Vec<(String, u64)>> {
    let count = info(device)?.n_stats as usize;
    if count == 0 || count > MOST_COUNTERS {
        return None;
    }
    // The kernel writes as many as the driver has by then, which may be more than it just said: there is
    // always room for the most. Words of eight bytes, since counters are.
    let mut names = vec![0_u64; 2 + MOST_COUNTERS * NAME / 8];
    names[0] = u64::from_ne_bytes(words(ETHTOOL_GSTRINGS, ETH_SS_STATS));
    // SAFETY: `struct ethtool_gstrings` is 12 bytes and the names, for which there is room.
    unsafe { ask_at(device, names.as_mut_ptr().cast()) }?;
    let mut values = vec![0_u64; 1 + MOST_COUNTERS];
    values[0] = u64::from_ne_bytes(words(ETHTOOL_GSTATS, u32::try_from(count).ok()?));
    // SAFETY: `struct ethtool_stats` is 8 bytes and the counters, for which there is room.
    unsafe { ask_at(device, values.as_mut_ptr().cast()) }?;
    let bytes: Vec<u8> = names
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .skip(12)
        .take(count * NAME)
        .collect();
    let names = bytes.chunks_exact(NAME).map(|name| {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    });
    Some(names.zip(values.into_iter().skip(1)).collect())
}

fn words(first: u32, second: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&first.to_ne_bytes());
    both[4..].copy_from_slice(&second.to_ne_bytes());
    both
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
