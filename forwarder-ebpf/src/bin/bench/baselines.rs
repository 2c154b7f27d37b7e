//! The floor: what the least work costs here.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use forwarder_common::{Flow, FlowKey, V4, limits};

use crate::word::{load, store};

/// As large as the flow map, and with its keys and values.
#[btf_map]
static PLAIN_LRU: LruHashMap<FlowKey<V4>, Flow<V4>, { limits::FLOWS * 2 }> = LruHashMap::new();

/// IPv4: no options, 20 + 50 bytes, don't fragment, TTL 64, IP in IP, 10.0.0.1 → 10.0.0.2.
const OUTER: [[u8; 4]; 5] = [
    [0x45, 0, 0, 70],
    [0, 0, 0x40, 0],
    [64, 4, 0x26, 0xb2],
    [10, 0, 0, 1],
    [10, 0, 0, 2],
];
const MACS: [u32; 3] = [0x0202_0202, 0x0303_0202, 0x0303_0303];

/// Where the packet begins, if it has this many bytes.
#[inline(always)]
fn data(context: *mut xdp_md, bytes: usize) -> Option<usize> {
    // SAFETY: the kernel hands every XDP program a valid context.
    let (data, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
    (data + bytes <= end).then_some(data)
}

/// Nothing at all.
#[xdp]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn swap(context: *mut xdp_md) -> Option<u32> {
    let data = data(context, 14)?;
    let (a, b, c) = (load(data), load(data + 4), load(data + 8));
    store(data, b >> 16 | c << 16);
    store(data + 4, c >> 16 | a << 16);
    store(data + 8, a >> 16 | b << 16);
    Some(xdp_action::XDP_TX)
}

/// The MAC addresses swapped, sent back.
#[xdp]
pub fn mac_swap(xdp: XdpContext) -> u32 {
    swap(xdp.ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn encapsulate(context: *mut xdp_md) -> Option<u32> {
    // SAFETY: a valid context, and no pointer into the packet is alive.
    if unsafe { bpf_xdp_adjust_head(context, -20) } != 0 {
        return None;
    }
    let data = data(context, 34)?;
    for (at, word) in MACS.into_iter().enumerate() {
        store(data + at * 4, word);
    }
    // SAFETY: bounds as checked above.
    unsafe { ((data + 12) as *mut u16).write_unaligned(0x0800_u16.to_be()) };
    for (at, word) in OUTER.into_iter().enumerate() {
        store(data + 14 + at * 4, u32::from_ne_bytes(word));
    }
    Some(xdp_action::XDP_TX)
}

/// A constant outer header in front of the packet: no lookup, no checksum to make.
#[xdp]
pub fn constant_ipip(xdp: XdpContext) -> u32 {
    encapsulate(xdp.ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn look_up(context: *mut xdp_md) -> Option<u32> {
    let data = data(context, 54)?;
    let key = FlowKey {
        source: load(data + 26),
        destination: load(data + 30),
        ports: load(data + 34),
        protocol: 6,
    };
    // SAFETY: read only, and nobody removes anything during a run.
    let flow = unsafe { PLAIN_LRU.get(&key) }?;
    store(data + 30, flow.destination);
    store(data + 34, flow.ports);
    Some(xdp_action::XDP_TX)
}

/// A flow looked up in a plain LRU map: what a translation costs at the very least if flows are kept there.
#[xdp]
pub fn plain_lru(xdp: XdpContext) -> u32 {
    look_up(xdp.ctx).unwrap_or(xdp_action::XDP_ABORTED)
}
