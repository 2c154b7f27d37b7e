//! Making the kernel resolve neighbours and keep them fresh.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;

impl Netlink {
    /// Has the kernel resolve a neighbour that it does not know, or no longer.
    pub fn resolve(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        let message = message(ifindex, address, NeighbourState::None, NeighbourFlags::Use);
        self.socket
            .change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
    }

    /// Has the kernel ask a neighbour that it knows whether its MAC address still holds.
    pub fn probe(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        let message = message(
            ifindex,
            address,
            NeighbourState::Probe,
            NeighbourFlags::empty(),
        );
        self.socket
            .change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REPLACE)
    }

    /// Has the kernel forget what it knows of a neighbour.
    pub fn forget(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        let message = message(
            ifindex,
            address,
            NeighbourState::None,
            NeighbourFlags::empty(),
        );
        self.socket
            .change(RouteNetlinkMessage::DelNeighbour(message), 0)
    }
}

fn message(
    ifindex: u32,
    address: IpAddr,
    state: NeighbourState,
    flags: NeighbourFlags,
) -> NeighbourMessage {
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader {
        family,
        ifindex,
        state,
        flags,
        ..Default::default()
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(destination));
    message
}
