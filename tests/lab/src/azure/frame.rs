//! A frame with a TCP segment or UDP datagram of IPv4 in it, and other addresses for it.

use std::net::{Ipv4Addr, SocketAddrV4};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

pub struct Frame<'b> {
    bytes: &'b mut [u8],
    protocol: Protocol,
    /// Where the transport header begins.
    transport: usize,
}

const IP: usize = 14;

impl<'b> Frame<'b> {
    /// `None`: something else, or a later fragment.
    pub fn of(bytes: &'b mut [u8]) -> Option<Self> {
        let header = bytes.get(IP..IP + 20)?;
        let transport = IP + usize::from(header[0] & 15) * 4;
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        let protocol = match header[9] {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        let least = if protocol == Protocol::Tcp { 20 } else { 8 };
        let whole = bytes.len() >= transport + least && header[0] >> 4 == 4 && later == 0;
        whole.then_some(Self {
            bytes,
            protocol,
            transport,
        })
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The MAC address that it comes from.
    pub fn from(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.bytes[6..12]);
        mac
    }

    /// A SYN without ACK.
    pub fn begins(&self) -> bool {
        self.protocol == Protocol::Tcp && self.bytes[self.transport + 13] & 0x12 == 2
    }

    /// Source and destination.
    pub fn ends(&self) -> [SocketAddrV4; 2] {
        let at = |address: usize, port: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| self.bytes[address + n]);
            let port = u16::from_be_bytes([self.bytes[port], self.bytes[port + 1]]);
            SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
        };
        [at(IP + 12, self.transport), at(IP + 16, self.transport + 2)]
    }

    /// Gives it other MAC addresses.
    pub fn address(&mut self, from: [u8; 6], to: [u8; 6]) {
        self.bytes[..6].copy_from_slice(&to);
        self.bytes[6..12].copy_from_slice(&from);
    }

    /// Gives it another source and destination. Checksums change by as much: one that was wrong stays so.
    pub fn rewrite(&mut self, ends: [SocketAddrV4; 2]) {
        let check = match self.protocol {
            Protocol::Tcp => self.transport + 16,
            Protocol::Udp => self.transport + 6,
        };
        for (place, end) in ends.into_iter().enumerate() {
            let address = IP + 12 + 4 * place;
            let port = self.transport + 2 * place;
            for (half, new) in end.ip().octets().chunks(2).enumerate() {
                let at = address + 2 * half;
                self.change(at, [new[0], new[1]], &[IP + 10, check]);
            }
            self.change(port, end.port().to_be_bytes(), &[check]);
        }
    }

    /// RFC 1624, equation 3.
    fn change(&mut self, at: usize, new: [u8; 2], checksums: &[usize]) {
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let old = word(self.bytes, at);
        for check in checksums {
            let sum = word(self.bytes, *check);
            if self.protocol == Protocol::Udp && *check != IP + 10 && sum == 0 {
                continue;
            }
            let mut sum = u32::from(!sum) + u32::from(!old) + u32::from(u16::from_be_bytes(new));
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            self.bytes[*check..*check + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        self.bytes[at..at + 2].copy_from_slice(&new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::checksum;

    #[test]
    fn a_rewritten_frame_is_right() {
        let mut bytes = vec![0; 14];
        bytes.extend([0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 7, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4]);
        let sum = |bytes: &[u8]| {
            let pseudo = [&bytes[26..34], &[0, 17, 0, 12][..], &bytes[34..]].concat();
            (checksum(&bytes[14..34]), checksum(&pseudo))
        };
        let (header, payload) = sum(&bytes);
        bytes[24..26].copy_from_slice(&header.to_be_bytes());
        bytes[40..42].copy_from_slice(&payload.to_be_bytes());
        let ends = ["192.0.2.200:65000", "203.0.113.9:8080"].map(|end| end.parse().expect("one"));
        let mut frame = Frame::of(&mut bytes).expect("a datagram");
        frame.rewrite(ends);
        assert_eq!(frame.ends(), ends);
        assert_eq!(sum(&bytes), (0, 0));
    }
}
