//! The link layer: VLAN tags off and on, MAC addresses, and the way out.

use forwarder_common::{Backend, Interface, Link, Reason, Stage, interface};

use crate::context::Context;
use crate::header::{Ethernet, Macs, Vlan, ethertype};
use crate::lookup::Tables;
use crate::packet::Packet;
use crate::verdict::{Action, Verdict};

/// Offset of the EtherType, or of the first tag.
const TYPE: usize = Macs::LENGTH;
/// Bytes of a tag.
const TAG: usize = 4;

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == ethertype::VLAN || ethertype == ethertype::QINQ
}

/// Takes up to two VLAN tags off, so that every later stage sees an untagged frame.
///
/// Returns the EtherType inside, or `None` (and an untouched packet) if there are more tags or the
/// frame ends in one.
#[inline(always)]
pub fn untag<P: Packet>(packet: &mut P, context: &mut Context) -> Option<u16> {
    let ethertype = packet.at::<Ethernet>(0)?.ethertype;
    if !is_tag(ethertype) {
        return Some(ethertype);
    }
    let outer = packet.at::<Vlan>(TYPE)?;
    let (outer_tag, mut inside) = (outer.tag, outer.ethertype);
    let mut tags = [outer_tag, 0];
    if is_tag(inside) {
        let inner = packet.at::<Vlan>(TYPE + TAG)?;
        tags[1] = inner.tag;
        inside = inner.ethertype;
        if is_tag(inside) {
            return None;
        }
        shift_macs(packet, 0, 2 * TAG)?;
        packet.adjust_head(2 * TAG as i32)?;
    } else {
        shift_macs(packet, 0, TAG)?;
        packet.adjust_head(TAG as i32)?;
    }
    context.tags = tags;
    Some(inside)
}

#[inline(always)]
fn shift_macs<P: Packet>(packet: &mut P, from: usize, to: usize) -> Option<()> {
    let macs = packet.at::<Macs>(from)?;
    let words = [{ macs.words }[0], { macs.words }[1], { macs.words }[2]];
    packet.at_mut::<Macs>(to)?.set(words);
    Some(())
}

/// Two half-words as one word, in wire order.
#[inline(always)]
const fn pair(first: u16, second: u16) -> u32 {
    first as u32 | (second as u32) << 16
}

/// Puts tags on.
#[inline(always)]
fn tag<P: Packet>(packet: &mut P, tags: [u32; 2]) -> Option<()> {
    if tags[0] == 0 {
        return Some(());
    }
    if tags[1] != 0 {
        packet.adjust_head(-2 * TAG as i32)?;
        shift_macs(packet, 2 * TAG, 0)?;
        packet.at_mut::<Vlan>(TYPE + TAG)?.tag = tags[1];
    } else {
        packet.adjust_head(-(TAG as i32))?;
        shift_macs(packet, TAG, 0)?;
    }
    packet.at_mut::<Vlan>(TYPE)?.tag = tags[0];
    Some(())
}

/// Makes a packet that is handed to the host exactly what it was.
#[inline(always)]
pub fn restore<P: Packet>(packet: &mut P, context: &Context, verdict: Verdict) -> Verdict {
    match verdict.action {
        Action::Pass if context.tags[0] != 0 => match tag(packet, context.tags) {
            Some(()) => verdict,
            None => Verdict::drop(Reason::DropInternal),
        },
        _ => verdict,
    }
}

/// Sends a frame on to a backend, in the VLANs that it came in.
#[inline(always)]
pub fn to_backend<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    backend: &Backend,
    reason: Reason,
) -> Verdict {
    let link = Link {
        destination_mac: backend.destination_mac,
        source_mac: backend.source_mac,
        ifindex: backend.ifindex,
        tags: kept_tags(context, backend.ifindex),
    };
    transmit(packet, tables, interface, context, &link, reason)
}

/// Sends the packet to `link`: MAC addresses, tags, and the way out.
#[inline(always)]
pub fn transmit<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    link: &Link,
    reason: Reason,
) -> Verdict {
    let Some(frame) = packet.at_mut::<Macs>(0) else {
        return Verdict::drop(Reason::DropInternal);
    };
    frame.set(macs(link));
    leave(
        packet,
        tables,
        interface,
        context,
        link.ifindex,
        link.tags,
        reason,
    )
}

/// Sends the packet, whose MAC addresses are right, out of `ifindex` with `tags`.
#[inline(always)]
pub fn leave<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    ifindex: u32,
    tags: [u32; 2],
    reason: Reason,
) -> Verdict {
    if tag(packet, tags).is_none() {
        return Verdict::drop(Reason::DropNoHeadroom);
    }
    let same = ifindex == context.ifindex && interface.flags & interface::flags::TX != 0;
    tables.note(Stage::Transmit, ifindex, same as u64);
    let action = if same {
        Action::Transmit
    } else {
        Action::Redirect
    };
    Verdict {
        action,
        ifindex,
        reason,
    }
}

/// The tags of a packet that leaves by `ifindex` and belongs to no NAT flow.
#[inline(always)]
pub const fn kept_tags(context: &Context, ifindex: u32) -> [u32; 2] {
    if ifindex == context.ifindex {
        context.tags
    } else {
        [0, 0]
    }
}

/// The way back to whoever sent this frame.
#[inline(always)]
pub fn way_back<P: Packet>(packet: &P, interface: &Interface, context: &Context) -> Option<Link> {
    // By words: a MAC address that is copied as an array is six bytes, and whoever then loads a word of it waits
    // for their stores.
    let macs = packet.at::<Macs>(0)?;
    let (second, third) = ({ macs.words }[1], { macs.words }[2]);
    let [a, b, c] = interface.mac;
    Some(Link {
        destination_mac: [(second >> 16) as u16, third as u16, (third >> 16) as u16],
        source_mac: [a, b, c],
        ifindex: context.ifindex,
        tags: context.tags,
    })
}

/// Both MAC addresses as the words of a frame.
#[inline(always)]
const fn macs(link: &Link) -> [u32; 3] {
    let (to, from) = (link.destination_mac, link.source_mac);
    [
        pair(to[0], to[1]),
        pair(to[2], from[0]),
        pair(from[1], from[2]),
    ]
}

/// Whether two links are the same, in registers: comparing arrays is a call.
#[inline(always)]
pub const fn is_same(one: &Link, other: &Link) -> bool {
    let (a, b) = (macs(one), macs(other));
    let macs = (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]);
    let tags = (one.tags[0] ^ other.tags[0]) | (one.tags[1] ^ other.tags[1]);
    macs | tags | (one.ifindex ^ other.ifindex) == 0
}
