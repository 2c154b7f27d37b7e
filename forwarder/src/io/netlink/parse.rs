//! Kernel messages as plain values.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use serde::Serialize;

pub use netlink_packet_route::neighbour::NeighbourState;

use crate::core::facts::LinkState;

/// A MAC address, as on the wire.
pub type Mac = [u8; 6];

/// How an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpAttachment {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// In the device.
    Offloaded,
    /// Several at once.
    Several,
}

impl Display for XdpAttachment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
            Self::Several => "several",
        })
    }
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel's index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// MTU, bytes.
    pub mtu: u32,
    /// MAC address; `None`: not an Ethernet interface.
    pub mac: Option<Mac>,
    /// Whether packets get through it.
    pub state: LinkState,
    /// XDP program attached, and its id.
    pub xdp: Option<(XdpAttachment, u32)>,
}

impl Link {
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            mtu: 0,
            mac: None,
            state: state(message.header.flags),
            xdp: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
                LinkAttribute::Xdp(xdp) => link.xdp = attachment(xdp),
                _ => (),
            }
        }
        // Loopback has six bytes for an address as well.
        link.mac = link
            .mac
            .filter(|_| message.header.link_layer_type == LinkLayerType::Ether);
        (!link.name.is_empty()).then_some(link)
    }
}

fn state(flags: LinkFlags) -> LinkState {
    if !flags.contains(LinkFlags::Up) {
        LinkState::Down
    } else if !flags.contains(LinkFlags::LowerUp) {
        LinkState::NoCarrier
    } else {
        LinkState::Up
    }
}

fn attachment(attributes: &[LinkXdp]) -> Option<(XdpAttachment, u32)> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpAttachment::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpAttachment::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpAttachment::Offloaded),
        LinkXdp::Attached(XdpAttached::Multiple) => Some(XdpAttachment::Several),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    });
    Some((mode, id.unwrap_or(0)))
}

/// An own address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Kernel's interface index.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its subnet's prefix.
    pub prefix_length: u8,
}

impl Address {
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        // On point-to-point links ADDRESS is the other end's and LOCAL is ours.
        let own = |local: bool| {
            message
                .attributes
                .iter()
                .find_map(move |attribute| match attribute {
                    AddressAttribute::Local(address) if local => Some(*address),
                    AddressAttribute::Address(address) if !local => Some(*address),
                    _ => None,
                })
        };
        let address = own(true).or_else(|| own(false))?;
        Some(Self {
            ifindex: message.header.index,
            address,
            prefix_length: message.header.prefix_len,
        })
    }
}

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Kernel's interface index.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, if known.
    pub mac: Option<Mac>,
    /// How fresh that is.
    pub state: NeighbourState,
}

impl Neighbour {
    pub(super) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        let address = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                    Some(IpAddr::V4(*address))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                    Some(IpAddr::V6(*address))
                }
                _ => None,
            })?;
        let mac = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
                _ => None,
            });
        let state = message.header.state;
        Some(Self {
            ifindex: message.header.ifindex,
            address,
            mac: mac.filter(|_| is_valid(state)),
            state,
        })
    }
}

/// Whether an entry in this state has a MAC that may be used (the kernel's `NUD_VALID`).
fn is_valid(state: NeighbourState) -> bool {
    !matches!(
        state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
    )
}

/// A route to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Kernel's index of the interface it leaves by.
    pub ifindex: u32,
    /// The gateway; `None`: the address is on the link.
    pub gateway: Option<IpAddr>,
}

impl Route {
    pub(super) fn from_message(message: &RouteMessage) -> Option<Self> {
        if message.header.kind != RouteType::Unicast {
            return None;
        }
        let ifindex = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Oif(ifindex) => Some(*ifindex),
                _ => None,
            })?;
        let gateway = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
                RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
                RouteAttribute::Via(via) => via_address(via),
                _ => None,
            });
        Some(Self { ifindex, gateway })
    }
}

fn via_address(via: &netlink_packet_route::route::RouteVia) -> Option<IpAddr> {
    use netlink_packet_route::route::RouteVia;
    match via {
        RouteVia::Inet(address) => Some(IpAddr::V4(*address)),
        RouteVia::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
