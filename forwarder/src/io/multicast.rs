//! Multicast frames that network cards would filter out: neighbour solicitations for VIPs, which the
//! host does not own.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use log::debug;

/// Memberships of a socket; they end with it.
#[derive(Debug)]
pub struct Memberships {
    socket: OwnedFd,
    joined: BTreeSet<(u32, Ipv6Addr)>,
}

impl Memberships {
    /// No membership yet. Needs CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: the socket itself receives nothing.
        // SAFETY: creates a descriptor, which is owned below.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just created, owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            socket,
            joined: BTreeSet::new(),
        })
    }

    /// Makes interfaces (by index) receive solicitations for exactly these addresses.
    pub fn set(&mut self, wanted: BTreeSet<(u32, Ipv6Addr)>) {
        for (ifindex, address) in wanted.difference(&self.joined) {
            self.change(libc::PACKET_ADD_MEMBERSHIP, *ifindex, *address);
        }
        for (ifindex, address) in self.joined.difference(&wanted) {
            self.change(libc::PACKET_DROP_MEMBERSHIP, *ifindex, *address);
        }
        self.joined = wanted;
    }

    fn change(&self, option: libc::c_int, ifindex: u32, address: Ipv6Addr) {
        let mut request = libc::packet_mreq {
            mr_ifindex: ifindex.cast_signed(),
            mr_type: libc::PACKET_MR_MULTICAST as u16,
            mr_alen: 6,
            mr_address: [0; 8],
        };
        request.mr_address[..6].copy_from_slice(&solicited_node_mac(address));
        // SAFETY: the option takes a packet_mreq, whose size is given; it outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if result != 0 {
            // The interface went away, and its memberships with it.
            debug!("multicast for {address}: {}", io::Error::last_os_error());
        }
    }
}

/// MAC of an address's solicited-node multicast group (RFC 4291 section 2.7.1, RFC 2464).
fn solicited_node_mac(address: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c] = address.octets();
    [0x33, 0x33, 0xff, a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solicited_node() {
        let address = "2001:db8::12:3456".parse().expect("an address");
        assert_eq!(
            solicited_node_mac(address),
            [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]
        );
    }
}
