//! Both ends of a whole chain: what sends packets into it, and what counts those that come out.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::btf_maps::{Array, DevMap};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use forwarder_common::bench::{SINK_LINES, SINK_MAC, SINK_WORDS, Sink, WORDS4, WORDS6};

use crate::word::{load, store};
use crate::wrapper::{TEMPLATE, V4, V6, Varying, fill};

/// What came.
#[btf_map]
static SINK: Array<Sink, 1> = Array::new();
/// Where `redirect` sends what comes in, by the number of the device.
#[btf_map]
static OUT: DevMap<1024> = DevMap::new();

const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

#[inline(always)]
fn exchange(a: usize, b: usize) {
    let word = load(a);
    store(a, load(b));
    store(b, word);
}

#[inline(always)]
fn generate<const WORDS: usize>(context: *mut xdp_md, varying: &Varying) -> Option<u32> {
    let template = TEMPLATE.get_ptr_mut(0)?;
    // SAFETY: one test run at a time uses the template.
    let template = unsafe { &mut *template };
    fill::<WORDS, true>(context, template, varying)?;
    Some(template.action)
}

/// The next packet, IPv4.
#[xdp]
pub fn generate4(xdp: XdpContext) -> u32 {
    generate::<WORDS4>(xdp.ctx, &V4).unwrap_or(xdp_action::XDP_ABORTED)
}

/// The next packet, IPv6.
#[xdp]
pub fn generate6(xdp: XdpContext) -> u32 {
    generate::<WORDS6>(xdp.ctx, &V6).unwrap_or(xdp_action::XDP_ABORTED)
}

/// The packet's beginning, for the user to look at.
#[inline(always)]
fn keep(sink: &mut Sink, data: usize, end: usize) {
    sink.length = (end - data) as u32;
    for line in 0..SINK_LINES {
        for at in 0..SINK_WORDS {
            let address = data + (line * SINK_WORDS + at) * 4;
            if address + 4 > end {
                return;
            }
            sink.frame[line][at] = load(address);
        }
    }
}

#[inline(always)]
fn receive(context: *mut xdp_md) -> Option<u32> {
    // SAFETY: the kernel hands every XDP program a valid context.
    let (data, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
    if data + 42 > end {
        return None;
    }
    let [a, b, c, d, e, f] = SINK_MAC;
    // SAFETY: as above.
    let (fifth, ethertype) = unsafe {
        (
            ((data + 4) as *const u16).read_unaligned(),
            u32::from(((data + 12) as *const u16).read_unaligned()),
        )
    };
    if load(data) != u32::from_ne_bytes([a, b, c, d]) || fifth != u16::from_ne_bytes([e, f]) {
        return None;
    }
    if ethertype != IPV4 && ethertype != IPV6 {
        return None;
    }
    let sink = SINK.get_ptr_mut(0)?;
    // SAFETY: packets are received by one CPU, that of the thread that sends them.
    let sink: &mut Sink = unsafe { &mut *sink };
    sink.packets += 1;
    if sink.length == 0 {
        keep(sink, data, end);
    }
    // SAFETY: a valid context.
    let device = unsafe { (*context).ingress_ifindex };
    if sink.reflect == 0 || sink.reflect != device {
        return None;
    }
    for at in 0..3 {
        // SAFETY: within the packet, as checked above.
        unsafe {
            let (to, from) = ((data + at * 2) as *mut u16, (data + 6 + at * 2) as *mut u16);
            let mac = to.read_unaligned();
            to.write_unaligned(from.read_unaligned());
            from.write_unaligned(mac);
        }
    }
    let ports = if ethertype == IPV4 {
        exchange(data + 26, data + 30);
        data + 34
    } else {
        if data + 58 > end {
            return None;
        }
        for at in 0..4 {
            exchange(data + 22 + at * 4, data + 38 + at * 4);
        }
        data + 54
    };
    store(ports, load(ports).rotate_left(16));
    // Not XDP_TX: a veth device wakes its peer for that only if XDP is there too.
    // SAFETY: a helper that only keeps its arguments.
    Some(unsafe { bpf_redirect(device, 0) } as u32)
}

/// Counts what was sent here and drops it; or sends it back, where it is told to.
#[xdp]
pub fn sink(xdp: XdpContext) -> u32 {
    receive(xdp.ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// To another device as it is: what forwarding costs at the very least.
#[xdp]
pub fn redirect(xdp: XdpContext) -> u32 {
    // SAFETY: a valid context.
    let device = unsafe { (*xdp.ctx).ingress_ifindex };
    OUT.redirect(device, 0).unwrap_or(xdp_action::XDP_ABORTED)
}
