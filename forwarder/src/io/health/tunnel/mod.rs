//! A packet's way through a backend's tunnel to a VIP, and straight back.
//!
//! The host gets no device, route or program for it: inner packets are made here, the kernel sends them to
//! the backend as the payload of another socket, and answers are read where they come in.

mod ask;
mod filter;
mod outer;
mod packet;
mod replies;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::mpsc;

use super::ProbeError;
use crate::config::model::TunnelCheck;
use outer::Outer;
use packet::{Flow, Local};

pub use ask::{echo, udp};
pub use packet::Transport;
pub use replies::Replies;
pub use stream::TunnelStream;

/// The limit of inner packets: the outer ones fit wherever a path carries the least that IPv6 needs.
const INNER_MTU: usize = 1200;

/// Routers that an inner packet may pass: one. So it still reaches a service behind the host that takes
/// the tunnel off; what a backend without the VIP sends back to the forwarder is dropped there, and does not
/// get to a backend that has it.
const HOP_LIMIT: u8 = 2;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A packet of the flow, from its IP header on.
    Packet(Vec<u8>),
    /// An ICMP error about a packet of the flow.
    Error(packet::IcmpError),
}

/// A flow through a tunnel. Its port is this flow's alone.
pub struct Path {
    flow: Flow,
    outer: Outer,
    replies: mpsc::Receiver<Reply>,
    _registered: replies::Registered,
    _port: Option<Socket>,
}

impl Path {
    /// Finds the addresses, takes a port, and listens for what comes back.
    pub fn open(
        backend: IpAddr,
        to: &TunnelCheck,
        transport: Transport,
        replies: &Replies,
    ) -> Result<Self, ProbeError> {
        let outer = Outer::open(backend, to.encapsulation, to.vip.is_ipv4())?;
        let source = if backend.is_ipv4() == to.vip.is_ipv4() {
            outer.source()?
        } else {
            source_towards(to.vip)?
        };
        if source == to.vip {
            let text = format!("this host has {source} itself, and no other address to ask from");
            return Err(ProbeError::NotMade(text));
        }
        let (port, number) = match transport {
            Transport::Tcp => silent_port(source, Type::STREAM, Protocol::TCP)?,
            Transport::Udp => silent_port(source, Type::DGRAM, Protocol::UDP)?,
            Transport::Echo => (None, super::icmp::next_identity()),
        };
        let local = Local {
            address: source,
            transport,
            number,
        };
        let (_registered, replies) = replies.register(local, to.vip)?;
        Ok(Self {
            flow: Flow {
                local,
                vip: to.vip,
                port: to.port.map_or(0, Into::into),
            },
            outer,
            replies,
            _registered,
            _port: port,
        })
    }

    /// Sends an inner packet. One that finds no room is lost, as on any way.
    fn send(&self, packet: &[u8]) -> Result<(), ProbeError> {
        self.outer.send(packet)
    }

    /// The next packet that came back, or what the backend's host says about the tunnel.
    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<u8>, ProbeError>> {
        if let Poll::Ready(error) = self.outer.poll_error(context) {
            return Poll::Ready(Err(error));
        }
        match self.replies.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Reply::Packet(packet))) => Poll::Ready(Ok(packet)),
            Poll::Ready(Some(Reply::Error(error))) => Poll::Ready(Err(error.into())),
            Poll::Ready(None) => {
                let text = "nobody reads what comes back".to_owned();
                Poll::Ready(Err(ProbeError::NotMade(text)))
            }
        }
    }
}

/// A port of this host that says nothing, whatever it gets: else the kernel would reset connections that
/// it does not know.
fn silent_port(
    address: IpAddr,
    kind: Type,
    protocol: Protocol,
) -> io::Result<(Option<Socket>, u16)> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(
        Domain::for_address(address),
        kind.nonblocking().cloexec(),
        Some(protocol),
    )?;
    socket.attach_filter(&filter::nothing())?;
    socket.bind(&SockAddr::from(address))?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    let port = socket.local_addr()?.as_socket().map_or(0, |own| own.port());
    Ok((Some(socket), port))
}

/// The address that this host would use towards another.
fn source_towards(address: IpAddr) -> Result<IpAddr, ProbeError> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Sends nothing.
    let found = socket
        .connect((address, 9))
        .and_then(|()| socket.local_addr());
    let found = found.map_err(|error| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        ProbeError::NotMade(format!(
            "this host has no {family} address to ask from: {error}"
        ))
    })?;
    Ok(found.ip())
}
