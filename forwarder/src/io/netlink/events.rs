//! Changes, as the kernel announces them.

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::unix::AsyncFd;

use super::Neighbour;
use super::socket::messages;

/// Room for a burst of events while the daemon is busy, bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Something changed in the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface: up, down, MAC, MTU, XDP program, new, gone.
    Link,
    /// An own address.
    Address,
    /// A route.
    Route,
    /// A neighbour is now like this.
    Neighbour(Neighbour),
    /// A neighbour entry was deleted.
    NeighbourGone(Neighbour),
    /// Events were lost: read everything again.
    Lost,
}

/// The stream of changes.
#[derive(Debug)]
pub struct Events {
    socket: AsyncFd<Socket>,
    queue: VecDeque<Change>,
}

impl Events {
    /// Subscribes. Open this before the first snapshot, so that nothing falls between the two.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        for group in [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_NEIGH,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
        ] {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        // SAFETY: the socket owns its descriptor and lives as long as the registration.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::other)?;
        Ok(Self {
            socket,
            queue: VecDeque::new(),
        })
    }

    /// The next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(change);
            }
            let mut guard = self.socket.readable().await?;
            match guard.try_io(|socket| socket.get_ref().recv_from_full()) {
                Ok(Ok((datagram, _))) => self.queue.extend(changes(&datagram)),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Change::Lost);
                }
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => (),
            }
        }
    }

    /// A change that has already arrived.
    pub fn pending(&mut self) -> io::Result<Option<Change>> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(Some(change));
            }
            match self.socket.get_ref().recv_from_full() {
                Ok((datagram, _)) => self.queue.extend(changes(&datagram)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Some(Change::Lost));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn changes(datagram: &[u8]) -> impl Iterator<Item = Change> + '_ {
    messages(datagram).filter_map(|message| match message.payload {
        NetlinkPayload::InnerMessage(message) => change(&message),
        _ => None,
    })
}

fn change(message: &RouteNetlinkMessage) -> Option<Change> {
    Some(match message {
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Change::Link,
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Change::Address,
        RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => Change::Route,
        RouteNetlinkMessage::NewNeighbour(message) => {
            Change::Neighbour(Neighbour::from_message(message)?)
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            Change::NeighbourGone(Neighbour::from_message(message)?)
        }
        _ => return None,
    })
}
