//! The driver's name, by ioctl: sysfs may show another network namespace's interfaces.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const ETHTOOL_GDRVINFO: u32 = 3;

/// The kernel's `struct ethtool_drvinfo`; what follows the name is not used here.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [c_char; 32],
    rest: [u8; 160],
}

/// Name of an interface's driver; `None`: the driver does not say.
pub fn driver(device: &str) -> Option<String> {
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: creates a descriptor, which is owned below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return None;
    }
    // SAFETY: `socket` was just created and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the request names the device and points at a drvinfo of the kernel's size (196 bytes).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return None;
    }
    // SAFETY: the kernel ends the name with a zero; the array was zeroed and outlives the reference.
    let name = unsafe { CStr::from_ptr(info.driver.as_ptr()) };
    let name = name.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}
