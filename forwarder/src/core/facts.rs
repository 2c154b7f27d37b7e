//! What the host says: interfaces, routes and neighbours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::model::InterfaceAddress;

/// A snapshot of the host's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Devices that exist, by the kernel's name.
    pub devices: BTreeMap<String, Device>,
    /// The host's route to an address, for those that [`super::next_hop::routes_wanted`] names.
    pub routes: BTreeMap<IpAddr, Route>,
    /// MAC addresses of neighbours, by interface index and address.
    pub neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Kernel's interface index.
    pub ifindex: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// MTU, bytes.
    pub mtu: u32,
    /// Whether packets get through it.
    pub state: LinkState,
    /// Own addresses that may be a source, first of a family first. Link-local IPv6 left out.
    pub addresses: Vec<InterfaceAddress>,
    /// The driver's name, as ethtool gives it.
    pub driver: String,
    /// Whether the kernel forwards what comes in by it: IPv4, IPv6.
    pub forwards: [bool; 2],
}

/// Whether packets get through a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// They do.
    Up,
    /// It is up, and at the other end of the cable is nobody.
    NoCarrier,
    /// Administratively down.
    #[default]
    Down,
}

/// A route of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Egress interface index.
    pub ifindex: u32,
    /// The router; `None`: on-link.
    pub gateway: Option<IpAddr>,
}
