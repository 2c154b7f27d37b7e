//! The UDP echo.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::{Shared, TICK};

/// Every answer begins with this many bytes: name and peer, filled up with spaces. The rest is the
/// request's payload from here on, so an answer is as long as its request (or as the stamp).
pub const STAMP: usize = 64;

pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

pub(super) fn echo(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = vec![0; 65536];
    while !shared.stopped() {
        // Errors are timeouts, or old ICMP errors about an answer of ours.
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let stamp = format!("{:<STAMP$}", format!("{} {peer}", shared.name));
        buffer[..STAMP].copy_from_slice(&stamp.as_bytes()[..STAMP]);
        let _ = socket.send_to(&buffer[..length.max(STAMP)], peer);
    }
}
