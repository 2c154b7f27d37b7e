//! Keeps the packet that was dropped last, for `forwarder trace --last-drop`.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::helpers::generated::{
    bpf_jiffies64, bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use forwarder_common::Reason;
use forwarder_common::drop::{FIRST, FRAME};
use forwarder_ebpf::header::Ethernet;

use crate::maps::{LAST_DROPS, SCRATCH};

/// The kernel's tick: a load, no call.
#[inline(always)]
fn tick() -> u64 {
    // SAFETY: a helper without arguments (kernel 5.5).
    unsafe { bpf_jiffies64() }
}

/// Whether a packet that is dropped now is the first for this reason in this tick: of a flood hardly any is.
#[inline(always)]
pub fn is_first(reason: Reason) -> bool {
    let last = LAST_DROPS.get((reason as u32).wrapping_sub(FIRST));
    last.is_some_and(|last| last.tick != tick())
}

/// Keeps the packet whose context is in the scratch.
#[inline(always)]
pub fn keep(xdp: &XdpContext) {
    let Some(context) = SCRATCH.get(0) else {
        return;
    };
    let Some(last) = LAST_DROPS.get_ptr_mut(context.reason.wrapping_sub(FIRST)) else {
        return;
    };
    // SAFETY: this CPU's own copy, which programs on this CPU write one after the other; whoever reads it
    // meanwhile goes by `begun` and `finished`.
    let last = unsafe { &mut *last };
    let begun = last.begun + 1;
    // SAFETY: a valid place. Volatile, and fenced, so that the compiler leaves the order as it is.
    unsafe { (&raw mut last.begun).write_volatile(begun) };
    compiler_fence(Ordering::SeqCst);
    last.tick = tick();
    // SAFETY: a helper without arguments.
    last.time = unsafe { bpf_ktime_get_ns() };
    last.ifindex = context.ifindex;
    last.length = context.bytes;
    last.tags = context.tags;
    last.reason = context.reason;
    last.kept = 0;
    // SAFETY: a valid context (kernel 5.18).
    let there = unsafe { bpf_xdp_get_buff_len(xdp.ctx) };
    // What is dropped has an Ethernet header. Of `there != 0` kernel 6.1 does not learn that it is at least 1.
    if there >= Ethernet::LENGTH as u64 {
        // 64 bits: of a half that is compared the verifier learns nothing about the whole.
        let kept = if there > FRAME as u64 {
            FRAME as u64
        } else {
            there
        };
        let to = (&raw mut last.frame).cast();
        // SAFETY: a valid context, and room for as many bytes (kernel 5.18).
        if unsafe { bpf_xdp_load_bytes(xdp.ctx, 0, to, kept as u32) } == 0 {
            last.kept = kept as u32;
        }
    }
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { (&raw mut last.finished).write_volatile(begun) };
}
