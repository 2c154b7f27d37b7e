//! The kernel's clocks.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use forwarder_common::flow::SECOND_SHIFT;

/// What the time was when a CPU asked last.
#[repr(C)]
pub struct Read {
    tick: u64,
    second: u64,
}

/// The kernel's tick.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: a helper without arguments (kernel 5.6); the verifier makes a load of it.
    unsafe { bpf_jiffies64() }
}

/// Nanoseconds on the monotonic clock, as of the last tick.
#[inline(always)]
pub fn coarse() -> u64 {
    // SAFETY: a helper without arguments (kernel 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds on the monotonic clock.
#[inline(always)]
pub fn monotonic() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Times of 2^30 ns on the monotonic clock: a shift, not a division. The daemon reads the same clock the same way.
///
/// The coarse clock goes on with the tick: where the CPU's last reading is given it is asked once in each tick,
/// not for each packet.
#[inline(always)]
pub fn seconds(read: Option<&mut Read>) -> u32 {
    let ask = || (coarse() >> SECOND_SHIFT) as u32;
    let Some(read) = read else {
        return ask();
    };
    let tick = ticks();
    if read.tick != tick {
        *read = Read {
            tick,
            second: ask().into(),
        };
    }
    read.second as u32
}
