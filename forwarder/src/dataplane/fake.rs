//! A data plane in memory, for tests.

use forwarder_common::Reason;

use super::{ApplyError, Counters, DataPlane};
use crate::core::compile::Given;
use crate::core::op::Op;
use crate::core::tables::Tables;

/// Holds what it was told, and fails when asked to.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    /// What the maps hold.
    pub tables: Tables,
    /// Every change that was made, in order.
    pub applied: Vec<Op>,
    /// Backends whose exceptions alone were forgotten, in order.
    pub exceptions_forgotten: Vec<u32>,
    /// Backends that were forgotten, in order.
    pub forgotten: Vec<u32>,
    /// What [`DataPlane::counters`] gives.
    pub counters: Counters,
    /// Changes that succeed before every one fails; `None`: none fails.
    pub fails_after: Option<usize>,
}

impl Fake {
    fn spend(&mut self, what: &dyn ToString) -> Result<(), ApplyError> {
        match &mut self.fails_after {
            Some(0) => Err(ApplyError {
                op: what.to_string(),
                reason: "injected failure".to_owned(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts a packet of `bytes` on an interface.
    pub fn count(&mut self, interface_slot: u32, reason: Reason, bytes: u64) {
        let counter = self
            .counters
            .interfaces
            .entry((interface_slot, reason))
            .or_default();
        counter.packets += 1;
        counter.bytes += bytes;
    }
}

impl DataPlane for Fake {
    fn apply(&mut self, op: &Op) -> Result<(), ApplyError> {
        self.spend(op)?;
        self.tables.apply(op);
        self.applied.push(op.clone());
        Ok(())
    }

    fn forget_exceptions(&mut self, index: u32) -> Result<(), ApplyError> {
        self.spend(&format!("forget exceptions of backend {index}"))?;
        self.exceptions_forgotten.push(index);
        Ok(())
    }

    fn forget_backend(&mut self, index: u32) -> Result<(), ApplyError> {
        self.spend(&format!("forget backend {index}"))?;
        self.forgotten.push(index);
        Ok(())
    }

    fn reset_counters(&mut self, given: &Given) -> Result<(), ApplyError> {
        self.spend(&"reset counters")?;
        let counters = &mut self.counters;
        counters
            .interfaces
            .retain(|(slot, _), _| !given.interfaces.contains(slot));
        counters
            .virtual_servers
            .retain(|id, _| !given.virtual_servers.contains(id));
        counters
            .backends
            .retain(|index, _| !given.backends.contains(index));
        counters
            .snat_pools
            .retain(|index, _| !given.snat_pools.contains(index));
        Ok(())
    }

    fn counters(&self) -> Result<Counters, ApplyError> {
        Ok(self.counters.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_when_told_to_and_changes_nothing_then() {
        let mut fake = Fake {
            fails_after: Some(1),
            ..Fake::default()
        };
        let op = |index| Op::SnatAddress {
            index,
            entry: Some([1, 0, 0, 0]),
        };
        assert!(fake.apply(&op(0)).is_ok());
        let error = fake.apply(&op(1)).expect_err("it fails");
        assert!(error.to_string().ends_with("injected failure"), "{error}");
        assert_eq!(fake.tables.snat_addresses.len(), 1);
        fake.count(0, Reason::L2Dsr, 60);
        let counters = fake.counters().expect("counters");
        assert_eq!(counters.interfaces[&(0, Reason::L2Dsr)].bytes, 60);
    }
}
