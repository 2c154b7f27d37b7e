//! What the kernel knows about interfaces, addresses, routes and neighbours, and what it says when
//! that changes.

mod events;
mod neighbours;
mod parse;
mod routes;
mod socket;

pub use events::{Change, Events};
pub use parse::{Address, Link, Mac, Neighbour, NeighbourState, Route, XdpAttachment};

use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use socket::RequestSocket;

/// A connection to the kernel's routing tables. Requests are answered by the kernel at once, so
/// they are made in place.
#[derive(Debug)]
pub struct Netlink {
    socket: RequestSocket,
}

impl Netlink {
    /// Opens the connection, in this thread's network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: RequestSocket::open()?,
        })
    }

    /// Every interface.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.socket.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Link::from_message(&message),
            _ => None,
        })
    }

    /// The interface of this name.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        match self.socket.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(Some(RouteNetlinkMessage::NewLink(message))) => Ok(Link::from_message(&message)),
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every interface's own addresses.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.socket.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
            _ => None,
        })
    }

    /// Every neighbour, IPv4 and IPv6.
    pub fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.socket.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => Neighbour::from_message(&message),
            _ => None,
        })
    }

    /// The host's route to an address, by an interface if one is given; `None`: there is none.
    pub fn route(&mut self, to: IpAddr, by: Option<u32>) -> io::Result<Option<Route>> {
        self.lookup(to, by.map(RouteAttribute::Oif))
    }

    /// The way that packets of the host itself take from one of its addresses; `None`: there is none.
    pub fn route_from(&mut self, to: IpAddr, from: IpAddr) -> io::Result<Option<Route>> {
        self.lookup(to, Some(RouteAttribute::Source(from.into())))
    }

    fn lookup(&mut self, to: IpAddr, more: Option<RouteAttribute>) -> io::Result<Option<Route>> {
        let mut message = RouteMessage::default();
        let length;
        (message.header.address_family, length) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.header.destination_prefix_length = length;
        if matches!(more, Some(RouteAttribute::Source(_))) {
            message.header.source_prefix_length = length;
        }
        message
            .attributes
            .push(RouteAttribute::Destination(to.into()));
        message.attributes.extend(more);
        match self.socket.get(RouteNetlinkMessage::GetRoute(message)) {
            Ok(Some(RouteNetlinkMessage::NewRoute(message))) => Ok(Route::from_message(&message)),
            Ok(_) => Ok(None),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EINVAL) => {
                    Ok(None)
                }
                Some(libc::EACCES | libc::ENODEV) => Ok(None),
                _ => Err(error),
            },
        }
    }
}
