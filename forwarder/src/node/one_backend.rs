//! One backend changes and nothing else: its part of the maps alone is brought to where it ought to be.

use super::Node;
use crate::core::compile::{BackendKey, Change, Snapshot};
use crate::core::op::Op;
use crate::dataplane::DataPlane as _;
use crate::io::clock;

/// When more backends change at once, one pass over everything is quicker.
const FEW: usize = 8;

impl Node {
    /// Brings backends to where they ought to be whose health has changed; whether that takes a pass.
    pub(super) fn change_few(&mut self, keys: &[BackendKey]) -> bool {
        if keys.is_empty() {
            return false;
        }
        let done = keys.len() <= FEW && keys.iter().all(|key| self.change_one(key).is_some());
        !done || self.changed_some().is_err()
    }

    /// What was changed; `None`: there is more to it than this backend, or it failed. A pass sets that right.
    pub(super) fn change_one(&mut self, key: &BackendKey) -> Option<Vec<Op>> {
        let peer = self.pair.as_ref();
        let follows = peer.is_some_and(|pair| pair.flows.handle.followed().is_some());
        if follows || self.followed.is_some() || self.failure.is_some() {
            return None;
        }
        let pool = self.model.pool(&key.pool)?;
        let mut backends = pool.backends.iter();
        let backend = backends.find(|each| key.is_of(each))?;
        let change = Change {
            pool,
            backend,
            is_down: self.checks.is_down(key, backend),
            now: clock::monotonic(),
        };
        let changed = self.state.change(&mut self.actual, change)?;
        let done = self.write_changed(&changed.ops, changed.lost);
        if let Err(failure) = done {
            // The pass is to find it lost again.
            if let Some(index) = changed.lost {
                self.state.keep_again(index);
            }
            self.failed(Some(failure));
            return None;
        }
        Some(changed.ops)
    }

    fn write_changed(&mut self, ops: &[Op], lost: Option<u32>) -> Result<(), String> {
        for op in ops {
            log::debug!("{op}");
            self.bpf.apply(op).map_err(|error| error.to_string())?;
            self.actual.apply(op);
        }
        let Some(index) = lost else { return Ok(()) };
        // What is to be forgotten must not be written down again.
        self.bpf.wait_for_packets();
        let forgotten = self.bpf.forget_exceptions(index);
        forgotten.map_err(|error| error.to_string())
    }

    /// What else is to know of it.
    pub(super) fn changed_some(&mut self) -> Result<(), String> {
        self.tell_backends();
        let saved = self.save(|own| Snapshot::of(&own.state));
        if let Err(failure) = &saved {
            self.failed(Some(failure.clone()));
        }
        saved
    }
}
