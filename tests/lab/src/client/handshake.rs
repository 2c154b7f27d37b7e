//! As many established TCP connections through NAT as one likes: the handshake of each, run through a node's own
//! programs. Nobody is at their ends.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};

use super::checksum;
use crate::namespace::Namespace;
use crate::program::Program;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// What the program may return: the frame leaves.
const TX: u32 = 3;
const REDIRECT: u32 = 4;
/// Where the fields are, from the frame's beginning.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const PORTS: usize = 34;
const FLAGS: usize = 47;
const LENGTH: usize = 54;
/// Ports of a client.
const PORTS_EACH: u32 = 50_000;

/// Makes connections through one node to one virtual server of mode `full-nat`.
pub struct Handshakes {
    outside: Program,
    inside: Program,
    server: SocketAddrV4,
    /// Connections so far.
    pub made: u32,
}

impl Handshakes {
    /// Through a host whose daemon has attached its programs to `eth0` (towards clients) and `eth1`. The first
    /// connection has this number: every number is another client.
    ///
    /// # Errors
    /// When none are.
    pub fn through(host: &Namespace, server: SocketAddrV4, first: u32) -> Result<Self> {
        Ok(Self {
            outside: Program::at(host, "eth0")?,
            inside: Program::at(host, "eth1")?,
            server,
            made: first,
        })
    }

    /// Makes so many. To be called on a thread that is in the host's namespace.
    ///
    /// # Errors
    /// When the program lets one not through.
    pub fn make(&mut self, count: u32) -> Result<()> {
        let mut out = [0; 256];
        for number in self.made..self.made + count {
            let mut frame = self.frame(number);
            self.pass(true, &frame, &mut out)?;
            // The backend's answer is what came out, turned around.
            let mut answer = [0; LENGTH];
            answer.copy_from_slice(&out[..LENGTH]);
            answer[..6].copy_from_slice(&self.inside.mac);
            let (source, destination) = (SOURCE..SOURCE + 4, DESTINATION..DESTINATION + 4);
            answer[source].copy_from_slice(&out[DESTINATION..DESTINATION + 4]);
            answer[destination].copy_from_slice(&out[SOURCE..SOURCE + 4]);
            answer[PORTS..PORTS + 2].copy_from_slice(&out[PORTS + 2..PORTS + 4]);
            answer[PORTS + 2..PORTS + 4].copy_from_slice(&out[PORTS..PORTS + 2]);
            answer[FLAGS] = SYN | ACK;
            self.pass(false, &answer, &mut out)?;
            frame[FLAGS] = ACK;
            self.pass(true, &frame, &mut out)?;
        }
        self.made += count;
        Ok(())
    }

    /// The clients of so many connections, from this number on, speak again; whoever made them. How many were not
    /// let through: their flows are not known. Where to call it: see [`Self::make`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn speak(&self, first: u32, count: u32) -> Result<u32> {
        let (mut out, mut unknown) = ([0; 256], 0);
        for number in first..first + count {
            let mut frame = self.frame(number);
            frame[FLAGS] = ACK;
            let (returned, _) = self.outside.run(&frame, &mut out)?;
            unknown += u32::from(returned != TX && returned != REDIRECT);
        }
        Ok(unknown)
    }

    fn pass(&self, outside: bool, frame: &[u8], out: &mut [u8]) -> Result<()> {
        let program = if outside { &self.outside } else { &self.inside };
        let (returned, length) = program.run(frame, out)?;
        let leaves = returned == TX || returned == REDIRECT;
        ensure!(
            leaves && length == LENGTH,
            "a frame does not get through: XDP action {returned}, {length} bytes\n{frame:02x?}"
        );
        Ok(())
    }

    /// What a client sends.
    fn frame(&self, number: u32) -> [u8; LENGTH] {
        let client = Ipv4Addr::from_bits((100 << 24 | 64 << 16) + number / PORTS_EACH);
        let port = 10_000 + (number % PORTS_EACH) as u16;
        let mut frame = [0; LENGTH];
        frame[..6].copy_from_slice(&self.outside.mac);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
        frame[12..14].copy_from_slice(&[8, 0]);
        let ip = &mut frame[14..34];
        ip[..12].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip[12..16].copy_from_slice(&client.octets());
        ip[16..].copy_from_slice(&self.server.ip().octets());
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        // A wrong checksum of TCP goes in and comes out: nobody looks at it.
        frame[PORTS..PORTS + 2].copy_from_slice(&port.to_be_bytes());
        frame[PORTS + 2..PORTS + 4].copy_from_slice(&self.server.port().to_be_bytes());
        frame[46..50].copy_from_slice(&[0x50, SYN, 0xff, 0xff]);
        frame
    }
}
