//! The kernel's settings of an interface.

use std::fs;

/// Whether the kernel forwards packets of a family that come in by a device; `true` where it does not say, as
/// without IPv6.
pub fn forwards(device: &str, ipv6: bool) -> bool {
    let family = if ipv6 { "ipv6" } else { "ipv4" };
    fs::read_to_string(format!("/proc/sys/net/{family}/conf/{device}/forwarding"))
        .map_or(true, |value| value.trim() != "0")
}
