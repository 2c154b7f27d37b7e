//! What stands in the middle of a chain: a network of its own with a device towards clients and one towards backends.
//!
//! ```text
//!   left end  g1 ──── eth0  router 1  eth1 ──── s1  right end
//! ```

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use forwarder_common::bench::SINK_MAC;

use super::network::Network;
use crate::bench::scene::{self, MAC};
use crate::io::ethtool::Switch;

/// The MAC address of `eth1`; that of `eth0` is [`MAC`].
const RIGHT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The first backend's host number.
const BACKEND: u16 = 10;
/// Backends on either side.
pub const BACKENDS: u16 = 10;

/// Which side of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Left,
    /// Backends.
    Right,
}

/// A router and its links.
pub struct Router {
    /// Its network.
    pub network: Network,
    number: u16,
    /// Index of the left end's device.
    pub left: u32,
    /// Index of the right end's device.
    pub right: u32,
}

impl Router {
    /// Makes it, with links to both ends, which may be one network, and addresses, and neighbours that never have to be asked for.
    pub fn new(number: u16, left: &Network, right: &Network) -> Result<Self> {
        let network = Network::new()?;
        let (g, s) = (format!("g{number}"), format!("s{number}"));
        for (ends, device, mine, mac) in [(left, &g, "eth0", MAC), (right, &s, "eth1", RIGHT_MAC)] {
            ends.ip(&format!(
                "link add {device} address {} type veth peer name {mine} address {} netns {}\nlink set {device} up",
                shown(SINK_MAC),
                shown(mac),
                network.path()
            ))?;
        }
        let router = Self {
            left: left.ifindex(&g)?,
            right: right.ifindex(&s)?,
            network,
            number,
        };
        router.network.sysctl(&[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        for device in ["eth0", "eth1"] {
            for switch in [
                Switch::TransmitChecksum,
                Switch::TcpSegmentation,
                Switch::Segmentation,
            ] {
                router.network.switch(device, switch, false)?;
            }
        }
        router.address()?;
        Ok(router)
    }

    fn address(&self) -> Result<()> {
        let mut ip = String::new();
        for (side, device) in [(Side::Left, "eth0"), (Side::Right, "eth1")] {
            let _ = writeln!(ip, "link set {device} up");
            for ipv6 in [false, true] {
                let (own, length) = (self.own(side, ipv6), if ipv6 { 64 } else { 24 });
                let nodad = if ipv6 { " nodad" } else { "" };
                let _ = writeln!(ip, "address add {own}/{length} dev {device}{nodad}");
                let backends = (0..BACKENDS).map(|number| self.backend(side, number, ipv6));
                for neighbour in backends.chain([self.end(side, ipv6)]) {
                    let mac = shown(SINK_MAC);
                    let _ = writeln!(
                        ip,
                        "neighbour add {neighbour} lladdr {mac} nud permanent dev {device}"
                    );
                }
            }
        }
        for (ipv6, length) in [(false, 16), (true, 48)] {
            let (clients, gateway) = (scene::client(ipv6), self.end(Side::Left, ipv6));
            let _ = writeln!(ip, "route add {clients}/{length} via {gateway}");
        }
        self.network.ip(&ip)
    }

    fn host(&self, side: Side, host: u16, ipv6: bool) -> IpAddr {
        let subnet = self.number + if side == Side::Left { 10 } else { 30 };
        if ipv6 {
            Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host).into()
        } else {
            Ipv4Addr::new(10, subnet as u8, 0, host as u8).into()
        }
    }

    /// Names of the devices at its ends.
    pub fn devices(&self) -> [String; 2] {
        [format!("g{}", self.number), format!("s{}", self.number)]
    }

    /// Its MAC address on a side.
    pub fn mac(&self, side: Side) -> [u8; 6] {
        match side {
            Side::Left => MAC,
            Side::Right => RIGHT_MAC,
        }
    }

    /// Its own address.
    pub fn own(&self, side: Side, ipv6: bool) -> IpAddr {
        self.host(side, 1, ipv6)
    }

    /// The address at the other end.
    pub fn end(&self, side: Side, ipv6: bool) -> IpAddr {
        self.host(side, 2, ipv6)
    }

    /// A backend's address.
    pub fn backend(&self, side: Side, number: u16, ipv6: bool) -> IpAddr {
        self.host(side, BACKEND + number, ipv6)
    }

    /// Makes its kernel route, and poll its devices as a network card's are.
    pub fn routes(&self) -> Result<()> {
        self.network
            .sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        for device in ["eth0", "eth1"] {
            self.network.switch(device, Switch::GenericReceive, true)?;
        }
        Ok(())
    }
}

/// As `ip` wants it.
pub fn shown(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
