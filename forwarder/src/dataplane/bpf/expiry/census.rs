//! What a walk over the flow maps has seen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use forwarder_common::flow::state;
use forwarder_common::{Flow, FlowKey, protocol};

use crate::core::key::{Address, ports};

/// What the flow maps held when they were last walked.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Each flow map.
    pub maps: [MapCensus; 4],
    /// SNAT ports that flows have, by address: TCP, UDP.
    ports: BTreeMap<IpAddr, [Ports; 2]>,
}

/// One flow map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapCensus {
    /// Entries; a flow has two.
    pub entries: u64,
    /// Entries that were removed because they were idle, since the walks began.
    pub expired: u64,
    /// Entries that newer ones pushed out, since the walks began.
    pub evicted: u64,
}

/// A set of ports.
#[derive(Clone, Debug, Default)]
struct Ports(Vec<u64>);

const WORDS: usize = (u16::MAX as usize + 1) / 64;

impl Ports {
    fn insert(&mut self, port: u16) {
        if self.0.is_empty() {
            self.0.resize(WORDS, 0);
        }
        self.0[usize::from(port) / 64] |= 1 << (port % 64);
    }

    fn count(&self, range: RangeInclusive<u16>) -> u64 {
        let (low, high) = (u32::from(*range.start()), u32::from(*range.end()));
        let words = (0..).step_by(64).zip(&self.0);
        let within = words.map(|(first, word): (u32, &u64)| {
            // Bits below `low` and above `high` do not count.
            let below = low.saturating_sub(first).min(64);
            let above = (first + 63).saturating_sub(high).min(64);
            let from = u64::MAX.checked_shl(below).unwrap_or(0);
            let to = u64::MAX.checked_shr(above).unwrap_or(0);
            u64::from((word & from & to).count_ones())
        });
        within.sum()
    }
}

impl Census {
    /// How many ports of an address flows have: TCP, UDP.
    pub fn ports_in_use(&self, address: &IpAddr, range: RangeInclusive<u16>) -> [u64; 2] {
        let count = |ports: &Ports| ports.count(range.clone());
        self.ports
            .get(address)
            .map_or([0, 0], |[tcp, udp]| [count(tcp), count(udp)])
    }

    /// Takes in an entry.
    pub(super) fn note<A: Address>(&mut self, key: &FlowKey<A>, flow: &Flow<A>) {
        let snat = flow.state & (state::FULL_NAT | state::EGRESS) != 0;
        if flow.state & state::REPLY == 0 || !snat {
            return;
        }
        let [_, port] = ports(key.ports);
        let [tcp, udp] = self.ports.entry(key.destination.ip()).or_default();
        if key.protocol == u32::from(protocol::TCP) {
            tcp.insert(port);
        } else {
            udp.insert(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forwarder_common::V4;

    #[test]
    fn counts_ports_once_and_within_a_range() {
        let mut census = Census::default();
        let address: std::net::Ipv4Addr = "192.0.2.10".parse().expect("an address");
        let reply = |source: u32, port: u16, protocol: u8, state: u32| {
            let key = FlowKey {
                source,
                destination: crate::core::key::word(address),
                ports: u32::from(port.to_be()) << 16,
                protocol: u32::from(protocol),
            };
            let flow = Flow::<V4> {
                state,
                ..Flow::default()
            };
            (key, flow)
        };
        let full = state::REPLY | state::FULL_NAT;
        for (source, port, protocol, state) in [
            (1, 1_024, protocol::TCP, full),
            (2, 1_024, protocol::TCP, full),
            (1, 2_048, protocol::TCP, state::REPLY | state::EGRESS),
            (1, 65_535, protocol::UDP, full),
            (1, 1_025, protocol::TCP, state::REPLY),
            (1, 1_026, protocol::TCP, state::FULL_NAT),
        ] {
            let (key, flow) = reply(source, port, protocol, state);
            census.note(&key, &flow);
        }
        let address = IpAddr::V4(address);
        assert_eq!(census.ports_in_use(&address, 1..=u16::MAX), [2, 1]);
        assert_eq!(census.ports_in_use(&address, 1_024..=2_047), [1, 0]);
        let other = "192.0.2.11".parse().expect("an address");
        assert_eq!(census.ports_in_use(&other, 1..=u16::MAX), [0, 0]);
    }
}
