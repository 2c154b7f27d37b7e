//! The UDP socket of a path.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use log::warn;

use crate::config::model::PairPath;
use crate::core::pair::wire::Refusal;

/// Bytes: what the kernel counts for as many datagrams as may be on their way.
const ROOM: libc::c_int = 4 << 20;

/// A path's socket. It may be opened before the address is there.
#[derive(Debug)]
pub struct Path {
    pub socket: UdpSocket,
    peer: SocketAddr,
    buffer: Box<[u8; 2048]>,
    failed: bool,
}

impl Path {
    pub fn open(path: &PairPath, port: u16) -> io::Result<Self> {
        let socket = socket(path.own)?;
        bind(&socket, SocketAddr::new(path.own, port)).map_err(|error| {
            io::Error::new(error.kind(), format!("{}:{port}: {error}", path.own))
        })?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            peer: SocketAddr::new(path.peer, port),
            buffer: Box::new([0; 2048]),
            failed: false,
        })
    }

    /// Room for many datagrams that come at once, if the kernel gives it.
    pub fn make_room(&self) {
        let bytes: libc::c_int = ROOM;
        for name in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            // SAFETY: the kernel reads an int. Without the right to it the buffers stay as they are.
            unsafe {
                libc::setsockopt(
                    self.socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    name,
                    (&raw const bytes).cast(),
                    size_of_val(&bytes) as libc::socklen_t,
                )
            };
        }
    }

    /// A datagram that has come; an error if it is not from the peer's address.
    pub fn receive(&mut self) -> Option<Result<&[u8], Refusal>> {
        loop {
            match self.socket.recv_from(&mut self.buffer[..]) {
                Ok((length, from)) if from.ip() == self.peer.ip() => {
                    return self.buffer.get(..length).map(Ok);
                }
                Ok(_) => return Some(Err(Refusal::Address)),
                // What an earlier datagram met on its way (port unreachable) is told here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends, or not: the path is down then, which is noticed by the silence.
    pub fn send(&mut self, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, self.peer);
        if let Err(error) = &sent
            && !self.failed
        {
            warn!("nothing can be sent to {}: {error}", self.peer);
        }
        self.failed = sent.is_err();
    }
}

fn socket(own: IpAddr) -> io::Result<UdpSocket> {
    let domain = if own.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let (level, name) = if own.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_FREEBIND)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
    };
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an int.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bind(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let result = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the kernel reads the structure.
            unsafe {
                libc::bind(
                    fd,
                    (&raw const raw).cast(),
                    size_of_val(&raw) as libc::socklen_t,
                )
            }
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: the kernel reads the structure.
            unsafe {
                libc::bind(
                    fd,
                    (&raw const raw).cast(),
                    size_of_val(&raw) as libc::socklen_t,
                )
            }
        }
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until something can be read, for at most `time`.
pub fn wait(descriptors: impl Iterator<Item = RawFd>, time: Duration) {
    let mut polled: Vec<libc::pollfd> = descriptors
        .map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let time = libc::timespec {
        tv_sec: time.as_secs().min(1) as libc::time_t,
        tv_nsec: libc::c_long::from(time.subsec_nanos().min(999_999_999)),
    };
    // SAFETY: the array and the timespec are valid for the call; no signal mask is given.
    unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            &raw const time,
            std::ptr::null(),
        )
    };
}
