//! The host as a whole.

use std::fs;

use super::{Finding, Severity};
use crate::dataplane::attach::host;
use crate::dataplane::pin;

/// Clock sources whose reading is a trap to the hypervisor, or slow.
const SLOW_CLOCKS: [&str; 4] = ["xen", "hpet", "acpi_pm", "jiffies"];
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Everything there is to say about the host.
pub fn findings() -> Vec<Finding> {
    let mut all = vec![kernel(), bpf_filesystem(), synchronised()];
    all.extend(clock_source());
    all.extend(compiled());
    all
}

fn say(severity: Severity, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(severity, "host", code, message)
}

fn kernel() -> Finding {
    match host::check() {
        Ok(()) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            say(
                Severity::Ok,
                "kernel",
                format!(
                    "Linux {} with type information; this user may load and attach programs",
                    release.trim()
                ),
            )
        }
        Err(error) => say(
            Severity::Error,
            "kernel",
            error.to_string().replace("\n  ", ": "),
        ),
    }
}

fn bpf_filesystem() -> Finding {
    if pin::has_filesystem() {
        return say(Severity::Ok, "bpffs", "a BPF filesystem is mounted");
    }
    say(
        Severity::Warning,
        "bpffs",
        "no BPF filesystem is mounted: `run --pin` can't keep forwarding while the daemon restarts",
    )
    .safe_fix(["mount -t bpf bpf /sys/fs/bpf".to_owned()])
}

fn synchronised() -> Finding {
    // SAFETY: all-zero bytes are a valid timex, and ask for nothing to be changed.
    let mut about: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `about` is the kernel's structure.
    let state = unsafe { libc::adjtimex(&raw mut about) };
    if state == libc::TIME_ERROR || about.status & libc::STA_UNSYNC != 0 {
        return say(
            Severity::Warning,
            "clock",
            "the clock is not kept by NTP or PTP: logs of two nodes can't be compared, and a cloud refuses requests \
             whose time is minutes off",
        )
        .fix(["timedatectl set-ntp true".to_owned()]);
    }
    say(Severity::Ok, "clock", "synchronised")
}

fn clock_source() -> Option<Finding> {
    let source = fs::read_to_string(CLOCK).ok()?;
    let source = source.trim();
    Some(if SLOW_CLOCKS.contains(&source) {
        say(
            Severity::Warning,
            "clock-source",
            format!("{source} is slow to read, for every packet that asks for the time"),
        )
        .fix([format!("echo tsc > {CLOCK}")])
    } else {
        say(Severity::Ok, "clock-source", source)
    })
}

/// Visible in the first network namespace only.
fn compiled() -> Option<Finding> {
    let value = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(if value.trim() == "0" {
        say(
            Severity::Warning,
            "jit",
            "BPF programs are interpreted, which is many times slower",
        )
        .safe_fix(["sysctl -q -w net.core.bpf_jit_enable=1".to_owned()])
    } else {
        say(Severity::Ok, "jit", "BPF programs are compiled")
    })
}
