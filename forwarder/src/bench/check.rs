//! Whether a packet has become what it should, bit by bit, without the packet path's own code.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use forwarder_common::protocol;

use super::case::{Becomes, Case};
use super::scene::MAC;

const ETHERNET: usize = 14;

/// Holds `out`, what the case's packet has become, against what it should be.
pub fn check(case: &Case, out: &[u8]) -> Result<()> {
    let input = &case.frame;
    match case.becomes {
        Becomes::Nothing | Becomes::Answer => Ok(()),
        Becomes::Switched => {
            macs(out)?;
            ensure!(out[12..] == input[12..], "more than MAC addresses changed");
            Ok(())
        }
        Becomes::Tunnelled(outer) => {
            ensure!(
                out.len() == input.len() + outer,
                "{} bytes, not {}",
                out.len(),
                input.len() + outer
            );
            macs(out)?;
            let header = Ip::read(&out[ETHERNET..])?;
            ensure!(header.total == out.len() - ETHERNET, "outer length");
            let inside = &out[ETHERNET + outer..];
            let before = Ip::read(&input[ETHERNET..])?;
            let after = Ip::read(inside)?;
            ensure!(after.ttl == before.ttl - 1, "inner TTL {}", after.ttl);
            ensure!(
                (after.source, after.destination) == (before.source, before.destination),
                "inner addresses changed"
            );
            after.transport(inside).context("inner packet")
        }
        Becomes::Translated(source, destination) => {
            ensure!(out.len() == input.len(), "the length changed");
            macs(out)?;
            let packet = &out[ETHERNET..];
            let before = Ip::read(&input[ETHERNET..])?;
            let after = Ip::read(packet)?;
            ensure!(after.ttl == before.ttl - 1, "TTL {}", after.ttl);
            let known = |known: Option<IpAddr>, is| known.is_none_or(|known| known == is);
            ensure!(known(source, after.source), "source {}", after.source);
            ensure!(
                known(destination, after.destination),
                "destination {}",
                after.destination
            );
            ensure!(
                (after.source, after.destination) != (before.source, before.destination),
                "nothing is translated"
            );
            after.transport(packet)
        }
    }
}

/// A frame that came out of a whole chain, with this many bytes of outer headers: source and destination of the
/// packet, whose checksums have to be right.
pub fn arrived(frame: &[u8], outer: usize) -> Result<(IpAddr, IpAddr)> {
    ensure!(
        frame.len() > ETHERNET + outer + 40,
        "{} bytes arrive",
        frame.len()
    );
    Ip::read(&frame[ETHERNET..]).context("the outer header")?;
    let packet = &frame[ETHERNET + outer..];
    let header = Ip::read(packet)?;
    header.transport(packet)?;
    Ok((header.source, header.destination))
}

/// Sent by us to somebody else.
fn macs(out: &[u8]) -> Result<()> {
    ensure!(out[6..12] == MAC, "source MAC {:02x?}", &out[6..12]);
    ensure!(out[..6] != MAC, "the destination MAC is still ours");
    Ok(())
}

struct Ip {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: u8,
    header: usize,
    total: usize,
}

impl Ip {
    /// Reads a header without options; its checksum has to be right.
    fn read(packet: &[u8]) -> Result<Self> {
        let word = |at: usize| usize::from(packet[at]) << 8 | usize::from(packet[at + 1]);
        if packet[0] >> 4 == 6 {
            let address = |at: usize| -> Result<IpAddr> {
                Ok(<[u8; 16]>::try_from(&packet[at..at + 16])?.into())
            };
            return Ok(Self {
                source: address(8)?,
                destination: address(24)?,
                ttl: packet[7],
                protocol: packet[6],
                header: 40,
                total: 40 + word(4),
            });
        }
        ensure!(packet[0] == 0x45, "version and length {:02x}", packet[0]);
        ensure!(sum(&packet[..20]) == 0xffff, "IPv4 header checksum");
        let address =
            |at: usize| -> Result<IpAddr> { Ok(<[u8; 4]>::try_from(&packet[at..at + 4])?.into()) };
        Ok(Self {
            source: address(12)?,
            destination: address(16)?,
            ttl: packet[8],
            protocol: packet[9],
            header: 20,
            total: word(2),
        })
    }

    /// The checksum of TCP or UDP has to be right.
    fn transport(&self, packet: &[u8]) -> Result<()> {
        ensure!(self.total <= packet.len(), "IP length {}", self.total);
        if self.protocol != protocol::TCP && self.protocol != protocol::UDP {
            return Ok(());
        }
        let segment = &packet[self.header..self.total];
        let mut all = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                [source.octets(), destination.octets()].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                [source.octets(), destination.octets()].concat()
            }
            _ => Vec::new(),
        };
        all.extend([0, self.protocol]);
        all.extend((segment.len() as u16).to_be_bytes());
        all.extend(segment);
        ensure!(sum(&all) == 0xffff, "transport checksum");
        Ok(())
    }
}

/// One's complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}
