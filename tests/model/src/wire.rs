//! Between the ABI's words in wire order and the model's own types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A MAC address as bytes.
pub type Mac = [u8; 6];

/// The ABI's words as bytes.
pub fn mac(words: [u16; 3]) -> Mac {
    let mut bytes = [0; 6];
    for (pair, word) in bytes.chunks_mut(2).zip(words) {
        pair.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Bytes as the ABI's words.
pub fn mac_words(bytes: Mac) -> [u16; 3] {
    [0, 2, 4].map(|at| u16::from_ne_bytes([bytes[at], bytes[at + 1]]))
}

/// An IPv4 address word.
pub fn v4(word: u32) -> Ipv4Addr {
    Ipv4Addr::from(word.to_ne_bytes())
}

/// The word of an IPv4 address.
pub fn v4_word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// IPv6 address words.
pub fn v6(words: [u32; 4]) -> Ipv6Addr {
    let mut bytes = [0; 16];
    for (four, word) in bytes.chunks_mut(4).zip(words) {
        four.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(bytes)
}

/// The words of an IPv6 address.
pub fn v6_words(address: Ipv6Addr) -> [u32; 4] {
    let bytes = address.octets();
    [0, 4, 8, 12]
        .map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// A backend's address words: IPv4 lies in the first.
pub fn any(words: [u32; 4], ipv6: bool) -> IpAddr {
    if ipv6 {
        v6(words).into()
    } else {
        v4(words[0]).into()
    }
}

/// Words of either family, IPv4 in the first.
pub fn any_words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [v4_word(address), 0, 0, 0],
        IpAddr::V6(address) => v6_words(address),
    }
}

/// Two ports as the ABI's word.
pub fn ports(source: u16, destination: u16) -> u32 {
    let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
    u32::from_ne_bytes([source[0], source[1], destination[0], destination[1]])
}

/// The address as bytes.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Whether `address` lies in `prefix`/`length`.
pub fn contains(prefix: IpAddr, length: u32, address: IpAddr) -> bool {
    let (prefix, address) = (octets(prefix), octets(address));
    prefix.len() == address.len()
        && (0..length as usize).all(|bit| {
            let mask = 0x80 >> (bit % 8);
            prefix[bit / 8] & mask == address[bit / 8] & mask
        })
}
