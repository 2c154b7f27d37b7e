//! Map keys as people write them, and their form in the maps.
//!
//! Both families share one type here; the data plane has a map for each.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::virtual_server::service;
use forwarder_common::{Flow, FlowKey, PrefixKey, V4, V6, VipKey, protocol};

/// What a virtual server is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// The VIP.
    pub address: IpAddr,
    /// Port, host order; 0: every port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// A key in the map of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family<V4, V6> {
    /// Of the IPv4 map.
    V4(V4),
    /// Of the IPv6 map.
    V6(V6),
}

impl Vip {
    /// The key in `VIPS4` or `VIPS6`.
    pub fn to_abi(self) -> Family<VipKey<V4>, VipKey<V6>> {
        let service = service(self.port.to_be(), self.protocol);
        match self.address {
            IpAddr::V4(address) => Family::V4(VipKey {
                address: word(address),
                service,
            }),
            IpAddr::V6(address) => Family::V6(VipKey {
                address: words(address),
                service,
            }),
        }
    }
}

impl Vip {
    /// Whom a flow's client asks; `destination`: the flow's. `None`: no flow is of such a protocol.
    pub fn asked_by<A>(flow: &FlowKey<A>, destination: IpAddr) -> Option<Self> {
        let [_, _, high, low] = flow.ports.to_ne_bytes();
        Some(Self {
            address: destination,
            port: u16::from_be_bytes([high, low]),
            protocol: u8::try_from(flow.protocol).ok()?,
        })
    }
}

impl From<VipKey<V4>> for Vip {
    fn from(key: VipKey<V4>) -> Self {
        Self::from_abi(from_word(key.address).into(), key.service)
    }
}

impl From<VipKey<V6>> for Vip {
    fn from(key: VipKey<V6>) -> Self {
        Self::from_abi(from_words(key.address).into(), key.service)
    }
}

impl Vip {
    fn from_abi(address: IpAddr, service: u32) -> Self {
        Self {
            address,
            port: u16::from_be(service as u16),
            protocol: (service >> 16) as u8,
        }
    }
}

impl Display for Vip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            _ => "?",
        };
        match (self.address, self.port) {
            (IpAddr::V4(address), 0) => write!(f, "{protocol} {address}:any"),
            (IpAddr::V6(address), 0) => write!(f, "{protocol} [{address}]:any"),
            (IpAddr::V4(address), port) => write!(f, "{protocol} {address}:{port}"),
            (IpAddr::V6(address), port) => write!(f, "{protocol} [{address}]:{port}"),
        }
    }
}

/// An entry of a virtual server's allow and deny lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Virtual server id.
    pub virtual_server: u32,
    /// Network address.
    pub address: IpAddr,
    /// Prefix length of the address, bits.
    pub length: u8,
}

impl Source {
    /// The key's data and prefix length in `ADMISSION4` or `ADMISSION6`.
    pub fn to_abi(self) -> (u32, Family<PrefixKey<V4>, PrefixKey<V6>>) {
        let scope = self.virtual_server.to_be();
        let key = match self.address {
            IpAddr::V4(address) => Family::V4(PrefixKey {
                scope,
                address: word(address),
            }),
            IpAddr::V6(address) => Family::V6(PrefixKey {
                scope,
                address: words(address),
            }),
        };
        (32 + u32::from(self.length), key)
    }
}

/// A source prefix of egress SNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Network address.
    pub address: IpAddr,
    /// Prefix length, bits.
    pub length: u8,
}

impl Network {
    /// The network of this prefix length that an address is in; `None`: no address is so long.
    pub fn of(address: IpAddr, length: u8) -> Option<Self> {
        let host = |bits: u32| bits.checked_sub(length.into());
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(host(32)?).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(host(128)?).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Some(Self { address, length })
    }
}

/// An IPv4 address as a word in wire order.
pub fn word(address: Ipv4Addr) -> V4 {
    u32::from_ne_bytes(address.octets())
}

/// An IPv6 address as words in wire order.
pub fn words(address: Ipv6Addr) -> V6 {
    let octets = address.octets();
    std::array::from_fn(|i| {
        u32::from_ne_bytes([
            octets[4 * i],
            octets[4 * i + 1],
            octets[4 * i + 2],
            octets[4 * i + 3],
        ])
    })
}

/// An address of either family in four words: IPv4 in the first, the rest zero.
pub fn wide(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [word(address), 0, 0, 0],
        IpAddr::V6(address) => words(address),
    }
}

/// The IPv4 address of a word in wire order.
pub fn from_word(word: V4) -> Ipv4Addr {
    word.to_ne_bytes().into()
}

/// The IPv6 address of words in wire order.
pub fn from_words(words: V6) -> Ipv6Addr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    octets.into()
}

/// An address as flow keys have it.
pub trait Address: Copy {
    /// As people have it.
    fn ip(self) -> IpAddr;
}

impl Address for V4 {
    fn ip(self) -> IpAddr {
        from_word(self).into()
    }
}

impl Address for V6 {
    fn ip(self) -> IpAddr {
        from_words(self).into()
    }
}

/// Source and destination port of a flow key or flow, host order.
pub fn ports(words: u32) -> [u16; 2] {
    [words, words >> 16].map(|word| u16::from_be(word as u16))
}

/// The key of a flow's other entry.
pub fn partner_key<A: Copy>(key: &FlowKey<A>, flow: &Flow<A>) -> FlowKey<A> {
    FlowKey {
        source: flow.destination,
        destination: flow.source,
        ports: flow.ports.rotate_left(16),
        protocol: key.protocol,
    }
}

/// A MAC address as words in wire order.
pub fn mac_words(mac: [u8; 6]) -> [u16; 3] {
    std::array::from_fn(|i| u16::from_ne_bytes([mac[2 * i], mac[2 * i + 1]]))
}

/// The MAC address of words in wire order.
pub fn mac_bytes(words: [u16; 3]) -> [u8; 6] {
    let [a, b, c] = words.map(u16::to_ne_bytes);
    [a[0], a[1], b[0], b[1], c[0], c[1]]
}

/// A MAC address as people write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_bytes_on_the_wire() {
        let v4: Ipv4Addr = "203.0.113.10".parse().expect("an address");
        assert_eq!(word(v4).to_ne_bytes(), [203, 0, 113, 10]);
        assert_eq!(from_word(word(v4)), v4);
        let v6: Ipv6Addr = "2001:db8::1:2".parse().expect("an address");
        assert_eq!(words(v6)[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(from_words(words(v6)), v6);
        let mac = [2, 3, 4, 5, 6, 7];
        assert_eq!(mac_bytes(mac_words(mac)), mac);
        assert_eq!(mac_text(mac), "02:03:04:05:06:07");
    }

    #[test]
    fn the_port_is_in_wire_order_and_the_scope_too() {
        let vip = Vip {
            address: IpAddr::from([203, 0, 113, 10]),
            port: 80,
            protocol: 6,
        };
        let Family::V4(key) = vip.to_abi() else {
            panic!("an IPv4 VIP")
        };
        assert_eq!(key.service.to_le_bytes()[..2], 80u16.to_be().to_le_bytes());
        assert_eq!(key.service >> 16, 6);
        assert_eq!(Vip::from(key), vip);
        assert_eq!(vip.to_string(), "tcp 203.0.113.10:80");
        let source = Source {
            virtual_server: 1,
            address: IpAddr::from([10, 0, 0, 0]),
            length: 8,
        };
        let (length, Family::V4(key)) = source.to_abi() else {
            panic!("an IPv4 prefix")
        };
        assert_eq!((length, key.scope.to_ne_bytes()), (40, [0, 0, 0, 1]));
    }

    #[test]
    fn the_partner_is_the_other_direction() {
        let forward = FlowKey {
            source: 1,
            destination: 2,
            ports: 0x0003_0004,
            protocol: 6,
        };
        let value = Flow {
            source: 5,
            destination: 6,
            ports: 0x0007_0008,
            ..Flow::default()
        };
        let reply = partner_key(&forward, &value);
        assert_eq!(
            reply,
            FlowKey {
                source: 6,
                destination: 5,
                ports: 0x0008_0007,
                protocol: 6
            }
        );
    }
}
