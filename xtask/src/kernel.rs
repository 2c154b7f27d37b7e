//! What the kernel and the privileges of this process must offer before anything is loaded.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{output, program};

/// Capability numbers of `linux/capability.h` that loading and attaching programs in own namespaces takes.
const CAPABILITIES: [(u32, &str); 5] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// Whether this process is root's.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Fails with the reason where XDP programs can't be loaded and attached to links in namespaces of our own.
pub fn require() -> Result<()> {
    ensure!(
        is_root(),
        "root is needed: XDP programs are loaded and network namespaces made"
    );
    let status = fs::read_to_string("/proc/self/status").context("/proc is not mounted")?;
    let missing = missing_capabilities(&status).context("/proc/self/status has no CapEff")?;
    if !missing.is_empty() {
        bail!(
            "this process is root without {}; a container needs --privileged",
            missing.join(", ")
        );
    }
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "the kernel has no BTF (/sys/kernel/btf/vmlinux): CONFIG_DEBUG_INFO_BTF=y is needed"
    );
    let veth = [
        "--net",
        "ip",
        "link",
        "add",
        "fwd-probe",
        "type",
        "veth",
        "peer",
        "name",
        "fwd-peer",
    ];
    if output(&mut program("unshare", veth)).is_none() {
        bail!(
            "the kernel makes no veth pair in a new network namespace: CONFIG_NET_NS and CONFIG_VETH are needed"
        );
    }
    Ok(())
}

/// Names of the needed capabilities that a `/proc/PID/status` text does not show as effective.
fn missing_capabilities(status: &str) -> Option<Vec<&'static str>> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    let missing = CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0);
    Some(missing.map(|(_, name)| *name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let all = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(missing_capabilities(all), Some(vec![]));
        let docker = "CapEff:\t00000000a80425fb\n";
        let missing = vec!["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"];
        assert_eq!(missing_capabilities(docker), Some(missing));
        assert_eq!(missing_capabilities("CapEff:\tnonsense"), None);
        assert_eq!(missing_capabilities(""), None);
    }
}
