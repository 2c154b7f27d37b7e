//! Ping.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{AGAIN, checksum};

/// Sends an echo request and waits for its reply; what is lost on a busy machine is sent again.
///
/// # Errors
/// When there is no right reply in time.
pub fn ping(address: IpAddr, timeout: Duration) -> Result<()> {
    let socket = raw_icmp(address).context("open a raw socket")?;
    let (request, reply) = if address.is_ipv4() {
        (8, 0)
    } else {
        (128, 129)
    };
    let mut packet = [0; 64];
    packet[0] = request;
    packet[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    packet[8..].copy_from_slice(&std::array::from_fn::<u8, 56, _>(|at| at as u8));
    if address.is_ipv4() {
        let checksum = checksum(&packet);
        packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    let deadline = Instant::now() + timeout;
    let mut again = Instant::now();
    let mut buffer = [0; 2048];
    loop {
        let now = Instant::now();
        if now >= deadline {
            bail!("no echo reply from {address} within {timeout:?}");
        }
        if now >= again {
            socket
                .send_to(&packet, SocketAddr::new(address, 0))
                .context("send")?;
            again = now + AGAIN;
        }
        socket.set_read_timeout(Some(again.min(deadline) - now))?;
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        // A raw IPv4 socket gets the IP header too.
        let start = if address.is_ipv4() {
            usize::from(buffer[0] & 15) * 4
        } else {
            0
        };
        let Some(message) = buffer.get(start..length) else {
            continue;
        };
        if from.ip() == address && message.first() == Some(&reply) && message[4..] == packet[4..] {
            if address.is_ipv4() && checksum(message) != 0 {
                bail!("the echo reply's checksum is wrong");
            }
            return Ok(());
        }
    }
}

fn raw_icmp(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours. send_to, recv_from and timeouts are the same for raw
    // sockets as for UDP ones.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
