//! Which slots of the lookup tables some older flow still needs to be remembered as changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use forwarder_common::hash::{HashAddress, HashKey, flow_hash, slot_of};
use forwarder_common::{Affinity, FlowKey, V4, V6, VirtualServer};

use crate::core::key::{Vip, from_word, from_words};
use crate::core::tables::Tables;

/// Collects the slots of exceptions, flow by flow.
pub struct Excepted<'a> {
    tables: &'a Tables,
    hash_key: HashKey,
    slots: BTreeSet<usize>,
}

impl<'a> Excepted<'a> {
    /// No exception yet.
    pub fn new(tables: &'a Tables, hash_key: HashKey) -> Self {
        Self {
            tables,
            hash_key,
            slots: BTreeSet::new(),
        }
    }

    /// Takes in an exception of an IPv4 flow.
    pub fn add4(&mut self, flow: &FlowKey<V4>, backend: u32) {
        self.add(flow, from_word(flow.destination).into(), backend);
    }

    /// Takes in an exception of an IPv6 flow.
    pub fn add6(&mut self, flow: &FlowKey<V6>, backend: u32) {
        self.add(flow, from_words(flow.destination).into(), backend);
    }

    /// Indices in `SLOTS` where a flow keeps another backend than the slot's current one.
    pub fn slots(self) -> BTreeSet<usize> {
        self.slots
    }

    fn add<A: HashAddress>(&mut self, flow: &FlowKey<A>, destination: IpAddr, backend: u32) {
        let Some(vip) = Vip::asked_by(flow, destination) else {
            return;
        };
        let servers = &self.tables.virtual_servers;
        let any = Vip { port: 0, ..vip };
        let Some(server) = servers.get(&vip).or_else(|| servers.get(&any)) else {
            return;
        };
        let affinity = Affinity::from_abi(server.affinity);
        let (source, destination) = (flow.source, flow.destination);
        let hash = flow_hash(
            source,
            destination,
            flow.ports,
            vip.protocol,
            affinity,
            self.hash_key,
        );
        if self.keeps_another(server, hash, backend) {
            let index = server.table_base + slot_of(hash, server.table_size);
            self.slots.insert(index as usize);
        }
    }

    fn keeps_another(&self, server: &VirtualServer, hash: u32, backend: u32) -> bool {
        let table = self.tables.slots.get(&server.table_base);
        let slot = table.and_then(|table| table.get(slot_of(hash, server.table_size) as usize));
        slot.is_some_and(|slot| slot.current() != backend)
    }
}

#[cfg(test)]
mod tests {
    use forwarder_common::{Slot, protocol};

    use super::*;

    #[test]
    fn finds_the_slot_that_the_data_plane_uses() {
        let mut tables = Tables::default();
        let address = IpAddr::from([203, 0, 113, 10]);
        let vip = Vip {
            address,
            port: 80,
            protocol: protocol::TCP,
        };
        let server = VirtualServer {
            table_base: 100,
            table_size: 7,
            ..VirtualServer::default()
        };
        tables.virtual_servers.insert(vip, server);
        tables
            .slots
            .insert(100, vec![Slot::changed(2, 1, false); 7].into());
        let key = [3, 4];
        let flow = FlowKey::<V4> {
            source: u32::from_ne_bytes([198, 51, 100, 7]),
            destination: u32::from_ne_bytes([203, 0, 113, 10]),
            ports: u32::from_ne_bytes([0x9c, 0xb0, 0, 80]),
            protocol: u32::from(protocol::TCP),
        };
        let hash = flow_hash(
            flow.source,
            flow.destination,
            flow.ports,
            protocol::TCP,
            Affinity::FiveTuple,
            key,
        );
        let excepted = |flow: FlowKey<V4>, backend| {
            let mut excepted = Excepted::new(&tables, key);
            excepted.add4(&flow, backend);
            excepted.slots()
        };
        assert_eq!(
            excepted(flow, 1),
            BTreeSet::from([100 + slot_of(hash, 7) as usize])
        );
        assert!(
            excepted(flow, 2).is_empty(),
            "the current backend needs no memory"
        );
        let other = FlowKey {
            ports: u32::from_ne_bytes([0x9c, 0xb0, 0, 81]),
            ..flow
        };
        assert!(excepted(other, 1).is_empty(), "no virtual server");
    }
}
