//! What a backend host has: read, and set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use serde_json::Value;

use super::step::{Step, missing};
use crate::config::model::Protocol;
use crate::doctor::run;
use crate::io::netlink::{Link, Netlink};

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Its family.
    pub ipv6: bool,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// The MSS it announces; `None`: what fits the device.
    pub advmss: Option<u32>,
}

/// What a backend host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The backend's address.
    pub address: IpAddr,
    /// The device that has it.
    pub device: String,
    /// The device's MTU.
    pub mtu: u32,
    /// Every own address: device, address, prefix length.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// `net.ipv4.conf`: device and name.
    pub settings: BTreeMap<(String, String), u32>,
    /// Devices that are up.
    pub up: BTreeSet<String>,
    /// GUE ports of the kernel: whether over IPv6, and the port.
    pub gue_ports: BTreeSet<(bool, u16)>,
    /// Whether `forwarder backend` is attached to the device.
    pub decapsulator: bool,
    /// Default routes.
    pub default_routes: Vec<DefaultRoute>,
    /// Where something listens.
    pub listening: BTreeSet<(bool, IpAddr, u16)>,
}

impl Facts {
    /// What the kernel goes by: the larger of the setting of all devices and the device's own.
    pub fn setting(&self, device: &str, name: &str) -> u32 {
        let of = |device: &str| self.settings.get(&(device.into(), name.into())).copied();
        of("all").max(of(device)).unwrap_or(0)
    }

    /// What is wrong about a VIP; `None`: it is on loopback as it should be, and nowhere else.
    pub fn against_vip(&self, vip: IpAddr) -> Option<String> {
        let elsewhere = self.elsewhere(vip).next();
        let elsewhere = elsewhere.map(|(device, _)| answers(device, vip));
        elsewhere.or_else(|| self.against_loopback(vip))
    }

    /// Other devices than loopback that have a VIP, and with which prefix length.
    pub fn elsewhere(&self, vip: IpAddr) -> impl Iterator<Item = (&str, u8)> {
        let others = self.addresses.iter();
        let others = others.filter(move |(device, own, _)| *own == vip && device != "lo");
        others.map(|(device, _, length)| (device.as_str(), *length))
    }

    /// What is wrong about a VIP on loopback.
    pub fn against_loopback(&self, vip: IpAddr) -> Option<String> {
        let whole = if vip.is_ipv4() { 32 } else { 128 };
        let on_loopback = self.addresses.iter();
        let mut on_loopback = on_loopback.filter(|(device, own, _)| *own == vip && device == "lo");
        let mut any = false;
        let shorter = on_loopback.find(|(.., length)| {
            any = true;
            *length != whole
        });
        match shorter {
            Some((.., length)) => Some(format!(
                "{vip} is on loopback as /{length}: that whole network is local now"
            )),
            None => (!any).then(|| format!("{vip} is not on loopback")),
        }
    }

    /// Whether packets to an address and port reach a socket.
    pub fn listens(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let udp = protocol == Protocol::Udp;
        // A socket of any IPv6 address takes IPv4 too, unless it was told not to.
        let mut at = any
            .into_iter()
            .filter(|any| any.is_ipv6() || address.is_ipv4())
            .chain([address]);
        at.any(|at| self.listening.contains(&(udp, at, port)))
    }
}

/// Why a VIP may not be on a device.
pub fn answers(device: &str, vip: IpAddr) -> String {
    format!("{device} has {vip}, and answers ARP for it: take it off there")
}

/// Reads what this host has, where it has `address`; `None`: it has not.
pub fn read(netlink: &mut Netlink, address: IpAddr) -> io::Result<Option<Facts>> {
    let links = netlink.links()?;
    let name = |ifindex| {
        links
            .iter()
            .find(|link| link.ifindex == ifindex)
            .map(|link| link.name.clone())
    };
    let own = netlink.addresses()?.into_iter();
    let addresses: Vec<_> = own
        .filter_map(|own| Some((name(own.ifindex)?, own.address, own.prefix_length)))
        .collect();
    let Some((device, ..)) = addresses.iter().find(|(_, own, _)| *own == address) else {
        return Ok(None);
    };
    let device = device.clone();
    let link = links.iter().find(|link| link.name == device);
    let decapsulator = link.is_some_and(|link| link.xdp.is_some());
    Ok(Some(Facts {
        address,
        mtu: link.map_or(1500, |link| link.mtu),
        settings: settings(&links),
        up: links
            .iter()
            .filter(|link| link.state != crate::core::facts::LinkState::Down)
            .map(|link| link.name.clone())
            .collect(),
        gue_ports: [false, true].into_iter().flat_map(gue_ports).collect(),
        decapsulator,
        default_routes: [false, true].into_iter().flat_map(default_routes).collect(),
        listening: listening(),
        addresses,
        device,
    }))
}

fn settings(links: &[Link]) -> BTreeMap<(String, String), u32> {
    let mut settings = BTreeMap::new();
    for device in links.iter().map(|link| link.name.as_str()).chain(["all"]) {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            let path = format!("/proc/sys/net/ipv4/conf/{device}/{name}");
            let value = fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            settings.extend(value.map(|value| ((device.to_owned(), name.to_owned()), value)));
        }
    }
    settings
}

/// What `ip` prints; empty where it knows no such thing.
fn ip(ipv6: bool, words: &[&str]) -> String {
    let family = if ipv6 { "-6" } else { "-4" };
    let output = Command::new("ip").arg(family).args(words).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn gue_ports(ipv6: bool) -> Vec<(bool, u16)> {
    let text = ip(ipv6, &["fou", "show"]);
    let port = |line: &str| {
        line.strip_prefix("port ")?
            .strip_suffix(" gue")?
            .parse()
            .ok()
    };
    text.lines()
        .filter_map(|line| Some((ipv6, port(line.trim())?)))
        .collect()
}

fn default_routes(ipv6: bool) -> Vec<DefaultRoute> {
    let text = ip(ipv6, &["-json", "route", "show", "default"]);
    let routes: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let route = |route: &Value| DefaultRoute {
        ipv6,
        gateway: route["gateway"]
            .as_str()
            .and_then(|gateway| gateway.parse().ok()),
        advmss: route["metrics"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|metric| u32::try_from(metric["advmss"].as_u64()?).ok()),
    };
    routes.iter().map(route).collect()
}

fn listening() -> BTreeSet<(bool, IpAddr, u16)> {
    let mut all = BTreeSet::new();
    for (file, udp) in [
        ("tcp", false),
        ("tcp6", false),
        ("udp", true),
        ("udp6", true),
    ] {
        let text = fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
        let sockets = text.lines().filter_map(|line| socket(line, udp));
        all.extend(sockets.map(|(address, port)| (udp, address, port)));
    }
    all
}

/// A line of `/proc/net/tcp` or `udp`: the local end, if it listens.
fn socket(line: &str, udp: bool) -> Option<(IpAddr, u16)> {
    const LISTEN: &str = "0A";
    const UNCONNECTED: &str = "07";
    let mut words = line.split_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let state = words.nth(1)?;
    if state != if udp { UNCONNECTED } else { LISTEN } {
        return None;
    }
    // Words of 32 bits as this machine reads what is in wire order.
    let word = |at: usize| {
        u32::from_str_radix(address.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

/// Runs the commands of what is not set, and says of each what came of it: `Err` is what the shell said.
pub fn apply<'s>(steps: &'s [Step], facts: &Facts) -> Vec<(&'s Step, Result<(), String>)> {
    let variables = [
        ("DEVICE", facts.device.clone()),
        ("MTU", facts.mtu.to_string()),
    ];
    let wanted = steps.iter().filter(|step| !step.commands.is_empty());
    let wanted = wanted.filter(|step| missing(step, facts).is_some());
    wanted
        .map(|step| (step, run(&step.commands, &variables)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_read() {
        let tcp =
            "   0: 0A0071CB:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0";
        let address = if cfg!(target_endian = "little") {
            "203.113.0.10"
        } else {
            "10.0.113.203"
        };
        assert_eq!(
            socket(tcp, false),
            Some((address.parse().expect("an address"), 80))
        );
        assert_eq!(socket(tcp, true), None);
        let any = "   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(
            socket(any, false),
            Some((Ipv6Addr::UNSPECIFIED.into(), 8080))
        );
        assert_eq!(socket(&any.replace(" 0A ", " 01 "), false), None);
        assert_eq!(
            socket("  sl  local_address rem_address   st tx_queue", false),
            None
        );
    }
}
