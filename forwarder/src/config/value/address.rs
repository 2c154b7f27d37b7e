//! Addresses and prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::model::InterfaceAddress;
use super::super::prefix::Prefix;
use super::{Code, Fault, FromText, short};

impl FromText for IpAddr {
    const EXPECTED: &'static str = "an IPv4 or IPv6 address";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let address = text.parse().map_err(|_| {
            let fault = Fault::new(
                Code::BadAddress,
                format!("\"{}\" is not an IP address", short(text)),
            );
            if text.contains('/') {
                fault.help("leave out the prefix length")
            } else if text.parse::<std::net::SocketAddr>().is_ok() {
                fault.help("the port has a key of its own")
            } else if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
                fault.help("names are not looked up: write the address")
            } else {
                fault
            }
        })?;
        refuse_mapped(address)?;
        Ok(address)
    }
}

fn refuse_mapped(address: IpAddr) -> Result<(), Fault> {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Err(Fault::new(
                Code::MappedAddress,
                format!("{address} is an IPv4 address written as IPv6"),
            )
            .help(format!("write {v4}"))),
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

fn split(text: &str, bad: Fault) -> Result<(IpAddr, u8), Fault> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() => bad.help(format!("a single host is {text}/32")),
            Ok(_) => bad.help(format!("a single host is {text}/128")),
            Err(_) => bad,
        });
    };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    match (address.parse::<IpAddr>(), length.parse::<u8>()) {
        (Ok(address), Ok(length)) if plain => {
            refuse_mapped(address)?;
            Ok((address, length))
        }
        _ => Err(bad),
    }
}

impl FromText for Prefix {
    const EXPECTED: &'static str = "a prefix such as 10.0.0.0/8 or 2001:db8::/32";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bad = || {
            Fault::new(
                Code::BadPrefix,
                format!("\"{}\" is not a prefix", short(text)),
            )
        };
        let (address, length) = split(text, bad())?;
        let prefix = Prefix::of(address, length).ok_or_else(bad)?;
        if prefix.address() == address {
            Ok(prefix)
        } else {
            let message = format!("{text} has bits set beyond its length");
            Err(Fault::new(Code::HostBits, message).help(format!("did you mean {prefix}?")))
        }
    }
}

impl FromText for InterfaceAddress {
    const EXPECTED: &'static str = "an address with its prefix length such as 198.51.100.4/24";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bad = || {
            let message = format!("\"{}\" is not an address with a prefix length", short(text));
            Fault::new(Code::BadPrefix, message)
        };
        let (address, length) = split(text, bad())?;
        let subnet = Prefix::of(address, length).ok_or_else(bad)?;
        Ok(InterfaceAddress { address, subnet })
    }
}

/// Why no packet of ours may carry the address as a host's, or `None` where it may.
/// Link-local addresses are a matter of their own: gateways have them.
pub(in crate::config) fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => unusable4(v4),
        IpAddr::V6(v6) => unusable6(v6),
    }
}

fn unusable4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, ..] = address.octets();
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if first == 0 {
        Some("in 0.0.0.0/8")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else if first >= 240 {
        Some("a reserved address")
    } else {
        None
    }
}

fn unusable6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("the loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

/// Whether the address is valid on one link only.
pub(in crate::config) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
