//! A client of the UDP echo.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{AGAIN, Answer};
use crate::pattern;
use crate::server::STAMP;

/// One request of `length` bytes from a socket of its own.
///
/// # Errors
/// When there is no right answer in time.
pub fn request(server: SocketAddr, length: usize, timeout: Duration) -> Result<Answer> {
    Socket::open(server, timeout)?.request(length)
}

/// A socket of a free port, connected.
pub fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket)
}

/// A socket with one server.
pub struct Socket {
    socket: UdpSocket,
    timeout: Duration,
    /// Lengths of requests so far.
    asked: BTreeSet<usize>,
}

impl Socket {
    /// Binds a free port; `timeout` holds for every request.
    pub fn open(server: SocketAddr, timeout: Duration) -> Result<Self> {
        let socket = connect(server).with_context(|| format!("connect to {server}"))?;
        Ok(Self {
            socket,
            timeout,
            asked: BTreeSet::new(),
        })
    }

    /// The server.
    pub fn server(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Sends `length` bytes (at least those of the server's stamp) and checks the answer; what is lost is sent
    /// again.
    pub fn request(&mut self, length: usize) -> Result<Answer> {
        self.asked.insert(length.max(STAMP));
        let deadline = Instant::now() + self.timeout;
        loop {
            self.send(length)?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive_within(length, left.min(AGAIN)) {
                Err(error) if is_timeout(&error) && Instant::now() < deadline => (),
                answer => return answer,
            }
        }
    }

    /// Sends `length` bytes; [`Self::receive`] takes the answer.
    pub fn send(&self, length: usize) -> Result<()> {
        let mut payload = vec![0; length.max(STAMP)];
        pattern::fill(0, &mut payload);
        self.socket.send(&payload).context("send")?;
        Ok(())
    }

    /// Waits for the answer to `length` bytes and checks it.
    pub fn receive(&mut self, length: usize) -> Result<Answer> {
        self.receive_within(length, self.timeout)
    }

    fn receive_within(&mut self, length: usize, limit: Duration) -> Result<Answer> {
        let limit = limit.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(limit))?;
        let mut buffer = vec![0; 65536];
        let sent = length.max(STAMP);
        let received = loop {
            let received = self.socket.recv(&mut buffer).context("receive")?;
            // An earlier request that was sent twice may be answered twice.
            if !self.asked.contains(&received) || received == sent {
                break received;
            }
        };
        ensure!(received == sent, "sent {sent} bytes, got {received}");
        if let Some(at) = pattern::first_difference(STAMP as u64, &buffer[STAMP..received]) {
            bail!("byte {at} of {received} is wrong");
        }
        let stamp = String::from_utf8_lossy(&buffer[..STAMP]);
        let (backend, client) = stamp
            .trim_end()
            .split_once(' ')
            .context("no stamp in the answer")?;
        Ok(Answer {
            backend: backend.to_owned(),
            client: client.parse()?,
            local: self.socket.local_addr()?,
        })
    }

    /// From now on packets are sent with DF or not at all: what the path can't take is an error
    /// (`EMSGSIZE`) as soon as the kernel has learned of it.
    pub fn never_fragment(&self) -> io::Result<()> {
        if self.is_ipv4()? {
            self.set(
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_DO,
            )
        } else {
            self.set(
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_DO,
            )
        }
    }

    /// The path MTU the kernel knows of, bytes of IP packet.
    pub fn path_mtu(&self) -> io::Result<usize> {
        let (level, name) = if self.is_ipv4()? {
            (libc::IPPROTO_IP, libc::IP_MTU)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU)
        };
        let mut value: libc::c_int = 0;
        let mut length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `value`.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(value).unwrap_or(0))
    }

    fn is_ipv4(&self) -> io::Result<bool> {
        Ok(self.socket.local_addr()?.is_ipv4())
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of `value`.
        match unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                length,
            )
        } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    )
}
