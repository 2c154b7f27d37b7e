//! The MSS clamp: a SYN's maximum segment size lowered to what fits (RFC 9293 section 3.7.1).

use core::hint::black_box;

use crate::checksum::Change;
use crate::header::{Half, Tcp, TcpOption};
use crate::packet::Packet;
use crate::parse::OFFSET_MASK;

/// Options looked at; senders put MSS first.
const OPTIONS: usize = 8;
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;

/// Lowers the MSS option of the TCP header at `transport` to `limit` bytes (host order). A packet
/// without the option, or with a smaller one, is left alone. The IP packet ends at `packet_end`.
#[inline(always)]
pub fn clamp<P: Packet>(packet: &mut P, transport: usize, packet_end: usize, limit: u16) {
    let Some(tcp) = packet.at::<Tcp>(transport) else {
        return;
    };
    let header_end = transport + (tcp.offset >> 4) as usize * 4;
    let end = header_end.min(packet_end);
    let mut at = transport + Tcp::LENGTH;
    for _ in 0..OPTIONS {
        at = black_box(at) & OFFSET_MASK;
        if at + 2 > end {
            return;
        }
        let Some(option) = packet.at::<TcpOption>(at) else {
            return;
        };
        match option.kind {
            END => return,
            NOP => at += 1,
            MSS => {
                if option.length == 4 && at + 4 <= end {
                    lower(packet, transport, at + 2, limit);
                }
                return;
            }
            _ if option.length < 2 => return,
            _ => at += option.length as usize,
        }
    }
}

/// Lowers the value at `at` and adjusts the TCP checksum.
#[inline(always)]
fn lower<P: Packet>(packet: &mut P, transport: usize, at: usize, limit: u16) {
    let at = black_box(at) & OFFSET_MASK;
    let Some(value) = packet.at_mut::<Half>(at) else {
        return;
    };
    let (old, new) = (value.0, limit.to_be());
    if u16::from_be(old) <= limit {
        return;
    }
    value.0 = new;
    // At an odd offset the value lies across two words of the sum: its bytes count the other way round.
    let change = if (at - transport) & 1 == 1 {
        Change::none().half(old.swap_bytes(), new.swap_bytes())
    } else {
        Change::none().half(old, new)
    };
    if let Some(tcp) = packet.at_mut::<Tcp>(transport) {
        tcp.checksum = change.apply(tcp.checksum);
    }
}
