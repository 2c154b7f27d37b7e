//! IP in IP and GUE.

use std::net::IpAddr;

use forwarder_common::Backend;
use forwarder_common::protocol::{ICMP, IPV4, IPV6, TCP, UDP};
use forwarder_common::virtual_server::backend_flags;

use crate::checksum;
use crate::packet::{Fragment, Ip, put, tcp, word};
use crate::wire;

/// Bytes that a tunnel adds.
pub(crate) fn overhead(backend: &Backend, gue: bool) -> usize {
    let ip = if backend.flags & backend_flags::IPV6 != 0 {
        40
    } else {
        20
    };
    ip + if gue { 8 } else { 0 }
}

/// `inner` wrapped for the backend; `gue` is GUE's port.
pub(crate) fn wrap(inner: &Ip, backend: &Backend, gue: Option<u16>, hash: u32) -> Ip {
    let ipv6 = backend.flags & backend_flags::IPV6 != 0;
    let source = wire::any(backend.tunnel_source, ipv6);
    let destination = wire::any(backend.address, ipv6);
    let mut payload = inner.bytes.clone();
    if let Some(port) = gue {
        let mut udp = Vec::new();
        udp.extend((0xc000 | (hash & 0x1fff) as u16).to_be_bytes());
        udp.extend(port.to_be_bytes());
        udp.extend((payload.len() as u16 + 8).to_be_bytes());
        udp.extend([0, 0]);
        payload.splice(0..0, udp);
        if ipv6 && let Some(error) = error_of(inner) {
            let sum =
                checksum::pseudo(source, destination, UDP, payload.len()) + checksum::sum(&payload);
            let right = checksum::checksum(sum + error);
            put(&mut payload, 6, if right == 0 { 0xffff } else { right });
        }
    }
    let protocol = match gue {
        Some(_) => UDP,
        None if inner.is_ipv6() => IPV6,
        None => IPV4,
    };
    let mut bytes = outer(
        inner.traffic_class(),
        payload.len(),
        protocol,
        hash,
        source,
        destination,
    );
    let l4 = bytes.len();
    bytes.extend(payload);
    let (trailer, fragment, extended) = (inner.trailer.clone(), Fragment::Whole, false);
    Ip {
        bytes,
        trailer,
        source,
        destination,
        protocol,
        l4,
        fragment,
        extended,
    }
}

/// What has to be added to the packet's sum to make its transport checksum right, negated; `None`:
/// the transport checksum does not stand for the packet.
fn error_of(inner: &Ip) -> Option<u64> {
    let stands = inner.fragment == Fragment::Whole
        && !inner.extended
        && inner.protocol != ICMP
        && !inner.is_icmp()
        && (inner.protocol != UDP
            || word(inner.segment(), 4).map(usize::from) == Some(inner.segment().len()));
    let stored = inner
        .checksum_at()
        .filter(|_| stands)
        .and_then(|at| word(&inner.bytes, at))?;
    // Covered data and a right checksum sum to zero (mod 0xffff), and so does an IPv4 header; the outer
    // sum is to come out as if they did.
    let header = if inner.is_ipv6() {
        0
    } else {
        checksum::sum(&inner.bytes[..inner.l4])
    };
    let sum = (inner.covered() + u64::from(stored) + header) % 0xffff;
    Some((0xffff - sum) % 0xffff)
}

fn outer(
    class: u8,
    payload: usize,
    protocol: u8,
    hash: u32,
    source: IpAddr,
    destination: IpAddr,
) -> Vec<u8> {
    let mut bytes = if source.is_ipv6() {
        let first = 6 << 28 | u32::from(class) << 20 | hash & 0xf_ffff;
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend((payload as u16).to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes
    } else {
        let mut bytes = vec![0x45, class];
        bytes.extend((payload as u16 + 20).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        bytes
    };
    bytes.extend(wire::octets(source));
    bytes.extend(wire::octets(destination));
    if !source.is_ipv6() {
        let sum = checksum::checksum(checksum::sum(&bytes));
        put(&mut bytes, 10, sum);
    }
    bytes
}

/// Lowers the MSS option of a SYN to `limit`.
pub(crate) fn clamp_mss(ip: &mut Ip, limit: u32) {
    let Some(at) = mss_at(ip) else { return };
    if word(&ip.bytes, at).is_some_and(|mss| u32::from(mss) > limit) {
        ip.edit(|bytes| put(bytes, at, limit as u16));
    }
}

/// Most options that are looked at.
const OPTIONS: usize = 8;

/// Where the value of the MSS option of a SYN is.
fn mss_at(ip: &Ip) -> Option<usize> {
    if ip.protocol != TCP || ip.tcp_flags() & tcp::SYN == 0 {
        return None;
    }
    let segment = ip.segment();
    let end = usize::from(segment[12] >> 4) * 4;
    let options = segment.get(20..end.min(segment.len()))?;
    let mut at = 0;
    for _ in 0..OPTIONS {
        let length = match *options.get(at)? {
            0 => return None,
            1 => 1,
            kind => match (kind, usize::from(*options.get(at + 1)?)) {
                (2, 4) if at + 4 <= options.len() => return Some(ip.l4 + 20 + at + 2),
                (2, _) | (_, 0 | 1) => return None,
                (_, length) => length,
            },
        };
        at += length;
    }
    None
}
