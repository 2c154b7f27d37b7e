//! The host's own routes.

use aya_ebpf::bindings::{bpf_fib_lookup as FibParameters, xdp_md};
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use forwarder_common::{FlowKey, Link, V4, V6};
use forwarder_ebpf::lookup::Route;

use crate::maps::INTERFACES;

/// The addresses of a family as the FIB lookup takes them.
pub trait FibAddress: Copy {
    /// `AF_INET` or `AF_INET6`.
    const AF: u8;
    /// Writes both addresses.
    fn fill(key: &FlowKey<Self>, parameters: &mut FibParameters);
}

impl FibAddress for V4 {
    const AF: u8 = 2;

    #[inline(always)]
    fn fill(key: &FlowKey<Self>, parameters: &mut FibParameters) {
        parameters.__bindgen_anon_3.ipv4_src = key.source;
        parameters.__bindgen_anon_4.ipv4_dst = key.destination;
    }
}

impl FibAddress for V6 {
    const AF: u8 = 10;

    #[inline(always)]
    fn fill(key: &FlowKey<Self>, parameters: &mut FibParameters) {
        parameters.__bindgen_anon_3.ipv6_src = key.source;
        parameters.__bindgen_anon_4.ipv6_dst = key.destination;
    }
}

/// Which way the host sends packets of a flow that came in by an interface.
#[inline(always)]
pub fn route<A: FibAddress>(context: *mut xdp_md, key: &FlowKey<A>, ifindex: u32) -> Route {
    /// Found.
    const SUCCESS: i64 = 0;
    /// No neighbour entry.
    const NO_NEIGHBOUR: i64 = 7;

    // SAFETY: all zeros is a valid value of this plain struct.
    let mut parameters: FibParameters = unsafe { core::mem::zeroed() };
    parameters.family = A::AF;
    parameters.l4_protocol = key.protocol as u8;
    parameters.ifindex = ifindex;
    A::fill(key, &mut parameters);
    let size = size_of::<FibParameters>() as i32;
    // SAFETY: a valid context and parameters of the size given.
    let answer = unsafe { bpf_fib_lookup(context.cast(), &raw mut parameters, size, 0) };
    match answer {
        SUCCESS => {
            let Some(out) = INTERFACES.get(parameters.ifindex) else {
                return Route::None;
            };
            Route::Found {
                link: Link {
                    destination_mac: words(parameters.dmac),
                    source_mac: words(parameters.smac),
                    ifindex: parameters.ifindex,
                    tags: [0, 0],
                },
                mtu: out.mtu as u32,
            }
        }
        NO_NEIGHBOUR => Route::Unresolved {
            ifindex: parameters.ifindex,
        },
        _ => Route::None,
    }
}

#[inline(always)]
fn words(mac: [u8; 6]) -> [u16; 3] {
    let [a, b, c, d, e, f] = mac;
    [
        u16::from_ne_bytes([a, b]),
        u16::from_ne_bytes([c, d]),
        u16::from_ne_bytes([e, f]),
    ]
}
