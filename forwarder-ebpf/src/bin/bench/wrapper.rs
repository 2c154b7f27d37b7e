//! Puts the packet back as it was, with the next flow's address and port, and calls what is measured.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use forwarder_common::bench::{PORT_BITS, Template, WORDS4, WORDS6};

/// The packet.
#[btf_map]
pub(crate) static TEMPLATE: Array<Template, 1> = Array::new();
/// What is measured.
#[btf_map]
static MEASURED: ProgramArray<1> = ProgramArray::new();

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Which words of a family vary: the last of the source address, the last of the destination, the ports; and
/// which have a checksum in their latter half: the header's, where it has one, and that of UDP.
pub(crate) struct Varying {
    source: usize,
    destination: usize,
    ports: usize,
    header_sum: Option<usize>,
    udp_sum: usize,
}

pub(crate) const V4: Varying = Varying {
    source: 3,
    destination: 4,
    ports: 5,
    header_sum: Some(2),
    udp_sum: 6,
};
pub(crate) const V6: Varying = Varying {
    source: 5,
    destination: 9,
    ports: 10,
    header_sum: None,
    udp_sum: 11,
};

/// Changes the checksum in a word's latter half for a word that had zeros where `change` has ones (RFC 1624).
#[inline(always)]
fn summed(word: u32, change: u32) -> u32 {
    let sum = (!word >> 16) + (change & 0xffff) + (change >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // A UDP checksum of zero would say that there is none.
    let check = if sum == 0xffff { 0xffff } else { !sum & 0xffff };
    word & 0xffff | check << 16
}

/// Writes the next flow's packet. Its checksums are made right where `SUMS` says so: it is IPv4 or IPv6 with UDP, and
/// its source varies.
///
/// Every store is as wide as the loads that the packet path will do there: a load across two stores that
/// are still on their way to the cache waits for both, which no packet from a network card does.
#[inline(always)]
pub(crate) fn fill<const WORDS: usize, const SUMS: bool>(
    context: *mut xdp_md,
    template: &mut Template,
    varying: &Varying,
) -> Option<()> {
    let number = template.next;
    let next = number + template.step;
    template.next = if next >= template.flows {
        next - template.flows
    } else {
        next
    };
    // SAFETY: the kernel hands every XDP program a valid context.
    let (data, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
    if data + ETHERNET + WORDS * 4 > end {
        return None;
    }
    let high = (number >> PORT_BITS).to_be();
    let low = ((number & ((1 << PORT_BITS) - 1)) as u16).to_be() as u32;
    for (at, word) in template.macs.iter().enumerate() {
        // SAFETY: within the packet, as was just checked; packets have no alignment.
        unsafe { ((data + at * 4) as *mut u32).write_unaligned(*word) };
    }
    // SAFETY: as above.
    unsafe { ((data + 12) as *mut u16).write_unaligned(template.ethertype as u16) };
    let source = high & template.source;
    let ports = (low | low << 16) & template.ports;
    for at in 0..WORDS {
        let word = template.words[at];
        let change = if at == varying.source {
            source
        } else if at == varying.destination {
            (high & template.destination) ^ (number.to_be() & template.destination_number)
        } else if at == varying.ports {
            ports
        } else {
            0
        };
        let word = if SUMS && varying.header_sum == Some(at) {
            summed(word, source)
        } else if SUMS && at == varying.udp_sum {
            summed(summed(word, source), ports)
        } else {
            word ^ change
        };
        // SAFETY: as above.
        unsafe { ((data + ETHERNET + at * 4) as *mut u32).write_unaligned(word) };
    }
    Some(())
}

/// Puts the packet back as it was.
#[inline(always)]
fn restore<const WORDS: usize>(context: *mut xdp_md, varying: &Varying) -> Option<()> {
    let template = TEMPLATE.get_ptr_mut(0)?;
    // SAFETY: one test run at a time uses the template.
    let template: &mut Template = unsafe { &mut *template };
    // What was measured may have grown or shrunk the packet at its head. Always called, so that it costs
    // every case alike and the wrapper alone too.
    // SAFETY: the kernel hands every XDP program a valid context.
    let length = unsafe { (*context).data_end - (*context).data };
    // SAFETY: as above; no pointer into the packet is alive.
    if unsafe { bpf_xdp_adjust_head(context, length as i32 - template.length as i32) } != 0 {
        return None;
    }
    fill::<WORDS, false>(context, template, varying)
}

#[inline(always)]
fn run<const WORDS: usize>(xdp: &XdpContext, varying: &Varying) -> u32 {
    if restore::<WORDS>(xdp.ctx, varying).is_some() {
        // SAFETY: a tail call returns only when it fails.
        unsafe { MEASURED.tail_call(xdp, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[xdp]
pub fn wrapper4(xdp: XdpContext) -> u32 {
    run::<WORDS4>(&xdp, &V4)
}

#[xdp]
pub fn wrapper6(xdp: XdpContext) -> u32 {
    run::<WORDS6>(&xdp, &V6)
}
