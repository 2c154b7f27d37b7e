//! Which node has a flow.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddrV4;

use super::frame::Protocol;

/// Protocol, client, front end.
pub type Key = (Protocol, SocketAddrV4, SocketAddrV4);

#[derive(Debug, Default)]
pub struct Flows(BTreeMap<Key, usize>);

impl Flows {
    /// The node of a packet's flow. One that begins (a SYN) goes to a healthy node, and so does one of a node that
    /// is not, if it `moves`; older flows stay. `None`: nobody is healthy.
    pub fn node(
        &mut self,
        key: Key,
        begins: bool,
        moves: bool,
        healthy: [bool; 2],
    ) -> Option<usize> {
        let known = self.0.get(&key).copied();
        if let Some(node) = known
            && !begins
            && (healthy[node] || !moves)
        {
            return Some(node);
        }
        // A SYN that is sent again goes where the first went.
        if let Some(node) = known
            && healthy[node]
        {
            return Some(node);
        }
        let able: Vec<_> = (0..2).filter(|node| healthy[*node]).collect();
        let mut hash = DefaultHasher::new();
        key.hash(&mut hash);
        let place = hash.finish() as usize % able.len().max(1);
        let node = *able.get(place)?;
        self.0.insert(key, node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn tcp_stays_and_udp_moves() {
        let end = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut flows = Flows::default();
        for (protocol, moves) in [(Protocol::Tcp, false), (Protocol::Udp, true)] {
            let key = (protocol, end(1), end(2));
            assert_eq!(flows.node(key, true, moves, [false; 2]), None);
            assert_eq!(flows.node(key, true, moves, [true, false]), Some(0));
            let after = flows.node(key, false, moves, [false, true]);
            assert_eq!(after, Some(usize::from(moves)));
            assert_eq!(flows.node(key, true, moves, [false, true]), Some(1));
        }
    }
}
