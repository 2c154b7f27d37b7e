//! Routes of our own in the host's tables, for routing daemons to redistribute.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;

/// The protocol number (`rtm_protocol`) that says whose they are; the registry of iproute2 has it free.
pub const PROTOCOL: u8 = 147;

impl Netlink {
    /// Adds a route to one address. What the host itself sends there is dropped: packets for VIPs are handled
    /// before they get to the host's routes.
    pub fn add_own_route(&mut self, table: u32, to: IpAddr) -> io::Result<()> {
        let message = message(table, to);
        self.socket.change(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Removes one that was added; that it is gone already is no error.
    pub fn remove_own_route(&mut self, table: u32, to: IpAddr) -> io::Result<()> {
        let message = message(table, to);
        match self
            .socket
            .change(RouteNetlinkMessage::DelRoute(message), 0)
        {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// All that are there, with their tables.
    pub fn own_routes(&mut self) -> io::Result<BTreeSet<(u32, IpAddr)>> {
        let mut routes = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            routes.extend(self.socket.dump(request, own)?);
        }
        Ok(routes)
    }
}

fn own(answer: RouteNetlinkMessage) -> Option<(u32, IpAddr)> {
    let RouteNetlinkMessage::NewRoute(message) = answer else {
        return None;
    };
    if message.header.protocol != RouteProtocol::from(PROTOCOL) {
        return None;
    }
    let mut table = u32::from(message.header.table);
    let mut to = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                to = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                to = Some(IpAddr::V6(*address));
            }
            _ => {}
        }
    }
    to.map(|to| (table, to))
}

fn message(table: u32, to: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, length) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header = RouteHeader {
        address_family: family,
        destination_prefix_length: length,
        protocol: RouteProtocol::from(PROTOCOL),
        kind: RouteType::BlackHole,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(to.into()),
        RouteAttribute::Table(table),
    ];
    message
}
