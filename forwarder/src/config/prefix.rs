//! Address prefixes.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use serde::{Serialize, Serializer};

/// An address prefix (CIDR): the network address has no bits beyond the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; `None` beyond 32 or 128 bits.
    pub fn of(address: IpAddr, length: u8) -> Option<Self> {
        if length > width(address) {
            return None;
        }
        Some(Prefix {
            address: network(address, length),
            length,
        })
    }

    /// The network address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits that count.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && network(address, self.length) == self.address
    }

    /// IPv4's directed broadcast address, where the prefix is long enough to have one (RFC 3021).
    pub fn broadcast(self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(address) if self.length < 31 => Some(IpAddr::V4(
                (address.to_bits() | u32::MAX >> self.length).into(),
            )),
            _ => None,
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl Display for Prefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn contains_its_own_and_nothing_else() {
        let prefix = |address: &str, length| {
            Prefix::of(address.parse().expect("an address"), length).expect("a prefix")
        };
        let address = |text: &str| text.parse().expect("an address");
        assert!(prefix("10.0.2.7", 24).contains(address("10.0.2.255")));
        assert!(!prefix("10.0.2.7", 24).contains(address("10.0.3.0")));
        assert!(prefix("1.2.3.4", 0).contains(address("255.255.255.255")));
        assert!(!prefix("1.2.3.4", 0).contains(address("::1")));
        assert!(prefix("::", 0).contains(address("2001:db8::1")));
        assert!(prefix("2001:db8::1", 128).contains(address("2001:db8::1")));
        assert_eq!(
            prefix("10.0.2.7", 24).broadcast(),
            Some(address("10.0.2.255"))
        );
        assert_eq!(prefix("10.0.2.7", 31).broadcast(), None);
        assert_eq!(Prefix::of(address("10.0.2.7"), 33), None);
    }
}
