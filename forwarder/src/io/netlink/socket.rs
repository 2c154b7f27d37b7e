//! Requests and their answers.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// One request at a time, answered before the call returns.
#[derive(Debug)]
pub struct RequestSocket {
    socket: Socket,
    sequence: u32,
}

impl RequestSocket {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// All entries of a table, as far as `select` wants them.
    pub fn dump<T>(
        &mut self,
        request: RouteNetlinkMessage,
        select: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        self.exchange(request, NLM_F_DUMP, |answer| found.extend(select(answer)))?;
        Ok(found)
    }

    /// One entry.
    pub fn get(&mut self, request: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut found = None;
        self.exchange(request, NLM_F_ACK, |answer| found = Some(answer))?;
        Ok(found)
    }

    /// A change, with flags such as `NLM_F_CREATE`.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(request, NLM_F_ACK | flags, |_| ())
    }

    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => each(answer),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) => return Ok(()),
                    _ => (),
                }
            }
        }
    }
}

/// The messages of a datagram. What cannot be parsed is passed over: an attribute of a newer
/// kernel must not stop the rest.
pub fn messages(
    mut datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    std::iter::from_fn(move || {
        loop {
            let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
            if length < 16 || length > datagram.len() {
                return None;
            }
            let (this, rest) = datagram.split_at(length);
            datagram = rest
                .get(length.next_multiple_of(4) - length..)
                .unwrap_or_default();
            if let Ok(message) = NetlinkMessage::deserialize(this) {
                return Some(message);
            }
        }
    })
}
