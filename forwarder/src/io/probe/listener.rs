//! A listening socket for every address of the host.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted: a load balancer's must not be lost among those of others.
const BACKLOG: i32 = libc::SOMAXCONN;

/// Listens on a port, of IPv6 and IPv4 where the host has both.
pub fn listen(port: u16, filter: Option<&OwnedFd>) -> io::Result<TcpListener> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let socket = match open(v6, filter) {
        // Without IPv6 in the kernel, or with it switched off.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            open(v4, filter)?
        }
        other => other?,
    };
    TcpListener::from_std(socket.into())
}

fn open(address: SocketAddr, filter: Option<&OwnedFd>) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if let Some(filter) = filter {
        attach(&socket, filter)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// From now on every packet to the socket, and to connections accepted from it, passes the filter.
fn attach(socket: &Socket, filter: &OwnedFd) -> io::Result<()> {
    let program = filter.as_raw_fd();
    // SAFETY: the kernel reads an int.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
