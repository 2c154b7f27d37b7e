//! What tells the neighbourhood that a VIP is here now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// After a takeover the VIPs are announced at once, and again after these times: a frame may get lost.
pub const AGAIN: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// A gratuitous ARP request (RFC 5227 section 3) or an unsolicited neighbour advertisement (RFC 4861
/// section 7.2.6) from this MAC address.
pub fn frame(mac: [u8; 6], vip: IpAddr) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => arp(mac, vip),
        IpAddr::V6(vip) => advertisement(mac, vip),
    }
}

fn arp(mac: [u8; 6], vip: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(vip.octets());
    frame.extend([0; 6]);
    frame.extend(vip.octets());
    frame
}

fn advertisement(mac: [u8; 6], vip: Ipv6Addr) -> Vec<u8> {
    const LENGTH: u8 = 32;
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(vip.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let pseudo = [
        &vip.octets()[..],
        &ALL_NODES.octets(),
        &[0, 0, 0, LENGTH, 0, 0, 0, 58],
    ]
    .concat();
    let sum = checksum(&[pseudo, message.clone()].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(mac);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, LENGTH, 58, 255]);
    frame.extend(vip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// The Internet checksum of an even number of bytes (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_gratuitous_arp_names_the_vip_twice() {
        let frame = frame(MAC, IpAddr::from([203, 0, 113, 10]));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[28..32], frame[38..42]);
        assert_eq!((&frame[6..12], &frame[22..28]), (&MAC[..], &MAC[..]));
    }

    #[test]
    fn an_advertisement_has_the_right_checksum() {
        let vip: Ipv6Addr = "2001:db8::10".parse().expect("an address");
        let frame = frame(MAC, vip.into());
        assert_eq!(frame.len(), 86);
        let pseudo = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo[..], &frame[54..]].concat()), 0);
        assert_eq!(frame[frame.len() - 6..], MAC);
    }
}
