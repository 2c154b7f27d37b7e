//! Asks who has an IPv4 address, and hears everybody who says that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::syn::parse_mac;
use crate::xdp_pass;

const ETH_P_ARP: u16 = 0x0806;

/// Who answered each question, by MAC address.
pub type Owners = BTreeMap<u32, BTreeSet<[u8; 6]>>;

/// A socket for ARP on one device. Every question has a sender address of its own, in 198.18.0.0/15, so
/// that each answer tells which question it is for.
pub struct Asker {
    socket: UdpSocket,
    mac: [u8; 6],
    asked: u32,
    owners: Owners,
}

impl Asker {
    /// Opens `device`; its MAC as `aa:bb:cc:dd:ee:ff`.
    pub fn open(device: &str, mac: &str) -> Result<Self> {
        let socket = packet_socket(device).with_context(|| format!("ARP on {device}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        Ok(Self {
            socket,
            mac: parse_mac(mac)?,
            asked: 0,
            owners: Owners::new(),
        })
    }

    /// Asks once every 10 ms, for so long, and hears the answers.
    pub fn ask_for(&mut self, address: Ipv4Addr, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.asked += 1;
            let asker = Ipv4Addr::from_bits(u32::from_be_bytes([198, 18, 0, 0]) + self.asked);
            let mut frame = vec![0xff; 6];
            frame.extend(self.mac);
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
            frame.extend(self.mac);
            frame.extend(asker.octets());
            frame.extend([0; 6]);
            frame.extend(address.octets());
            self.socket.send(&frame).context("ask")?;
            let next = Instant::now() + Duration::from_millis(10);
            while Instant::now() < next {
                self.hear(address);
            }
        }
        Ok(())
    }

    /// Who answered so far.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// How many questions were asked.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    fn hear(&mut self, address: Ipv4Addr) {
        let mut frame = [0; 64];
        let Ok(length) = self.socket.recv(&mut frame) else {
            return;
        };
        let reply = length >= 42 && frame[20..22] == [0, 2] && frame[28..32] == address.octets();
        if !reply {
            return;
        }
        let octets = [frame[38], frame[39], frame[40], frame[41]];
        let number = u32::from_be_bytes(octets).wrapping_sub(u32::from_be_bytes([198, 18, 0, 0]));
        let mut mac = [0; 6];
        mac.copy_from_slice(&frame[22..28]);
        self.owners.entry(number).or_default().insert(mac);
    }
}

/// A packet socket for ARP; `send`, `recv` and timeouts are the same as for UDP ones.
fn packet_socket(device: &str) -> io::Result<UdpSocket> {
    let index = xdp_pass::index(device)?;
    let protocol = ETH_P_ARP.to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index.cast_signed();
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `address`.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}
