//! The outer side of a tunnel: a socket whose payload is the inner packet.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::ProbeError;
use super::filter;
use crate::config::model::Encapsulation;

const IPV4: i32 = 4;
const IPV6: i32 = 41;

/// A socket connected to the backend.
pub struct Outer {
    socket: UdpSocket,
    backend: IpAddr,
    encapsulation: Encapsulation,
}

impl Outer {
    /// Needs CAP_NET_RAW for IPIP.
    pub fn open(backend: IpAddr, encapsulation: Encapsulation, ipv4: bool) -> io::Result<Self> {
        let (kind, protocol, port) = match encapsulation {
            Encapsulation::Ipip => (Type::RAW, if ipv4 { IPV4 } else { IPV6 }, 0),
            Encapsulation::Gue(port) => (Type::DGRAM, libc::IPPROTO_UDP, port.get()),
        };
        let to = SocketAddr::new(backend, port);
        let socket = Socket::new(
            Domain::for_address(to),
            kind.nonblocking().cloexec(),
            Some(Protocol::from(protocol)),
        )?;
        // Answers come back by themselves; only errors come back here.
        socket.attach_filter(&filter::nothing())?;
        socket.connect(&to.into())?;
        Ok(Self {
            // There is no type for a raw one; for what is done here a datagram is a datagram.
            socket: UdpSocket::from_std(socket.into())?,
            backend,
            encapsulation,
        })
    }

    /// This host's address.
    pub fn source(&self) -> io::Result<IpAddr> {
        let address = SockRef::from(&self.socket).local_addr()?.as_socket();
        address
            .map(|address| address.ip())
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    pub fn send(&self, packet: &[u8]) -> Result<(), ProbeError> {
        match SockRef::from(&self.socket).send(packet) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.judge(error)),
        }
    }

    /// What ICMP says about the outer packets.
    pub fn poll_error(&self, context: &mut Context<'_>) -> Poll<ProbeError> {
        let mut nothing = [0; 1];
        loop {
            match self
                .socket
                .poll_recv(context, &mut ReadBuf::new(&mut nothing))
            {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(self.judge(error)),
            }
        }
    }

    fn judge(&self, error: io::Error) -> ProbeError {
        let said = match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => "port unreachable",
            // IPv6 says it as a header that it does not know.
            Some(libc::ENOPROTOOPT | libc::EPROTO) => "protocol unreachable",
            _ => return error.into(),
        };
        let Self {
            backend,
            encapsulation,
            ..
        } = self;
        ProbeError::Tunnel(format!(
            "{backend} does not take the tunnel off, {encapsulation}: it answers \"{said}\""
        ))
    }
}
