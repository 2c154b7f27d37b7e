//! XDP features of a driver, by the generic netlink family `netdev` (Linux 6.3).

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Netlink and generic netlink headers, bytes.
const HEADERS: usize = 20;

/// `enum netdev_xdp_act` of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    const BASIC: u64 = 1 << 0;
    const REDIRECT: u64 = 1 << 1;
    const RX_SG: u64 = 1 << 5;

    /// Whether the driver has native XDP, with redirects.
    pub fn native(self) -> bool {
        self.0 & (Self::BASIC | Self::REDIRECT) == Self::BASIC | Self::REDIRECT
    }

    /// Whether it gives frames of several buffers to a program that can take them.
    pub fn frags(self) -> bool {
        self.0 & Self::RX_SG != 0
    }
}

/// A connection to the family.
#[derive(Debug)]
pub struct Query {
    socket: Socket,
    family: u16,
}

impl Query {
    /// `None`: the kernel does not have the family.
    pub fn open() -> Option<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC).ok()?;
        socket.bind_auto().ok()?;
        socket.connect(&SocketAddr::new(0, 0)).ok()?;
        let request = message(
            GENL_ID_CTRL,
            CTRL_CMD_GETFAMILY,
            CTRL_ATTR_FAMILY_NAME,
            b"netdev\0",
        );
        let answer = exchange(&socket, &request).ok()?;
        let family = u16::from_ne_bytes(*attribute(&answer, CTRL_ATTR_FAMILY_ID)?.first_chunk()?);
        Some(Self { socket, family })
    }

    /// The features of an interface's driver; `None`: it does not say.
    pub fn of(&mut self, ifindex: u32) -> Option<Features> {
        let request = message(
            self.family,
            NETDEV_CMD_DEV_GET,
            NETDEV_A_DEV_IFINDEX,
            &ifindex.to_ne_bytes(),
        );
        let answer = exchange(&self.socket, &request).ok()?;
        let bits = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES)?.first_chunk()?;
        Some(Features(u64::from_ne_bytes(*bits)))
    }
}

fn message(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADERS];
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message[16] = command;
    message[17] = 1;
    message.extend((value.len() as u16 + 4).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

fn exchange(socket: &Socket, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match answer.get(4..6) {
        Some(kind) if kind != NLMSG_ERROR.to_ne_bytes() => Ok(answer),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The value of an attribute, as far as the answer holds it.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(HEADERS..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(4..length)?;
        if kind & 0x3fff == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_attribute_among_others() {
        let mut answer = message(1, 1, 5, b"abc");
        answer.extend([6, 0, 3, 0, 7, 8, 0, 0]);
        assert_eq!(attribute(&answer, 5), Some(&b"abc"[..]));
        assert_eq!(attribute(&answer, 3), Some(&[7, 8][..]));
        assert_eq!(attribute(&answer, 4), None);
        for end in 0..answer.len() {
            attribute(&answer[..end], 4);
        }
    }
}
