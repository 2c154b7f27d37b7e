//! Where flows belong: the virtual server that has them, and so the pool. What is remembered of flows that
//! belong elsewhere after a change would mislead them, or others with their ports, later.

use std::collections::BTreeMap;

use super::compile::State;
use super::key::Vip;
use super::tables::Tables;

/// What the slot of a flow is found by, beside the flow: the pool's name, and the affinity.
type Home = (String, u8);

/// The homes of every virtual server that has a lookup table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes(BTreeMap<Vip, Home>);

impl Homes {
    /// As the tables have it; `state`: the one that they were compiled with.
    pub fn of(tables: &Tables, state: &State) -> Self {
        let pools: BTreeMap<u32, &str> = state
            .pools()
            .map(|(name, table)| (table.base, name))
            .collect();
        let servers = tables.virtual_servers.iter();
        let homes = servers.filter(|(_, server)| server.table_size > 0);
        let homes = homes.filter_map(|(vip, server)| {
            let pool = pools.get(&server.table_base)?;
            Some((*vip, ((*pool).to_owned(), server.affinity)))
        });
        Self(homes.collect())
    }

    /// The virtual server that has packets to an address, port and protocol: of the port, or of every port.
    fn find(&self, vip: Vip) -> Option<&Home> {
        let any = Vip { port: 0, ..vip };
        self.0.get(&vip).or_else(|| self.0.get(&any))
    }
}

/// A change of homes.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    old: Homes,
    new: Homes,
}

impl Moves {
    /// From what was to what is.
    pub fn new(old: Homes, new: Homes) -> Self {
        Self { old, new }
    }

    /// Whether any flow may belong elsewhere than before.
    pub fn any(&self) -> bool {
        let all = self.old.0.keys().chain(self.new.0.keys());
        all.copied().any(|vip| self.is_elsewhere(vip))
    }

    /// Whether flows to this address, port and protocol do.
    pub fn is_elsewhere(&self, vip: Vip) -> bool {
        let old = self.old.find(vip);
        old.is_some() && old != self.new.find(vip)
    }
}

#[cfg(test)]
mod tests {
    use forwarder_common::protocol::TCP;

    use super::*;

    fn vip(port: u16) -> Vip {
        Vip {
            address: [203, 0, 113, 10].into(),
            port,
            protocol: TCP,
        }
    }

    fn homes(all: &[(u16, &str, u8)]) -> Homes {
        let homes = all
            .iter()
            .map(|(port, pool, affinity)| (vip(*port), ((*pool).to_owned(), *affinity)));
        Homes(homes.collect())
    }

    #[test]
    fn flows_move_with_their_virtual_server() {
        let old = homes(&[(80, "a", 0), (81, "b", 0), (0, "c", 0)]);
        let elsewhere = |new: &[(u16, &str, u8)]| {
            let moves = Moves::new(old.clone(), homes(new));
            let ports = [80, 81, 82, 83].map(|port| moves.is_elsewhere(vip(port)));
            assert_eq!(moves.any(), ports.contains(&true));
            ports
        };
        let same = [false; 4];
        assert_eq!(elsewhere(&[(80, "a", 0), (81, "b", 0), (0, "c", 0)]), same);
        let moved = [(80, "b", 0), (81, "b", 0), (0, "c", 0)];
        assert_eq!(elsewhere(&moved), [true, false, false, false]);
        let affinity = [(80, "a", 1), (81, "b", 0), (0, "c", 0)];
        assert_eq!(elsewhere(&affinity), [true, false, false, false]);
        let gone = [(80, "a", 0), (0, "c", 0)];
        assert_eq!(elsewhere(&gone), [false, true, false, false]);
        let taken = [(80, "a", 0), (81, "b", 0), (82, "d", 0), (0, "c", 0)];
        assert_eq!(elsewhere(&taken), [false, false, true, false]);
        let begun = Moves::new(Homes::default(), old);
        assert!(!begun.any(), "nobody was here before");
    }
}
