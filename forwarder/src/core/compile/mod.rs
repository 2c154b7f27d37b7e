//! From what is wanted and what the host says to the content of every map.

mod backends;
mod change;
mod interfaces;
mod note;
mod past;
mod pools;
mod snapshot;
mod snat;
mod state;
mod virtual_servers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use change::{Change, Changed};
pub use note::Note;
pub use past::{Memory, Past};
pub use snapshot::Snapshot;
pub use snat::SnatKey;
pub use state::{BackendKey, Given, PoolTable, State, egress_name, virtual_server_ids};

use super::facts::Facts;
use super::next_hop::{Attached, attached};
use super::tables::Tables;
use crate::config::model::{Egress, Model, Snat};

/// The outcome of a compilation.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the maps are to hold.
    pub tables: Tables,
    /// What the next compilation starts from, once these tables are in the maps.
    pub state: State,
    /// What the operator ought to know.
    pub notes: Vec<Note>,
    /// Backends that are still there but no longer keep flows, by index. Once the tables are in the
    /// maps, the data plane is to forget their exceptions
    /// ([`crate::dataplane::DataPlane::forget_exceptions`]). It moves their NAT flows by itself.
    pub lost: BTreeSet<u32>,
    /// Backends that are there no more, by index. Once the tables are in the maps, the data plane
    /// is to forget them ([`crate::dataplane::DataPlane::forget_backend`]); then
    /// [`State::release`] them.
    pub gone: BTreeSet<u32>,
}

/// What a compilation starts from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is wanted.
    pub model: &'a Model,
    /// What the host says.
    pub facts: &'a Facts,
    /// Backends that health checks have found to be down. All others count as up: traffic flows
    /// at once after a start, and a dead backend is out after its first failed checks.
    pub down: &'a BTreeSet<BackendKey>,
    /// Backends in slow start: the part of their weight that they have, of [`FULL`].
    ///
    /// [`FULL`]: crate::core::health::FULL
    pub ramps: &'a BTreeMap<BackendKey, u8>,
    /// The time, from any fixed point.
    pub now: Duration,
}

/// Compiles. Same input and same state, same outcome; lookup tables depend on the model and on
/// `down` alone.
pub fn compile(input: Input<'_>, previous: &State) -> Compiled {
    let mut compilation = Compilation {
        input,
        interfaces: attached(input.model, input.facts),
        tables: Tables::default(),
        state: previous.clone(),
        notes: Vec::new(),
    };
    compilation.state.release_passing();
    compilation.snat();
    compilation.interfaces();
    compilation.backends();
    compilation.pools();
    compilation.virtual_servers();
    compilation.snat_answers();
    compilation.egress();
    let Compilation {
        tables,
        state,
        notes,
        ..
    } = compilation;
    let gone = state.backends.quarantine().clone();
    let lost = previous.keeps.difference(&state.keeps);
    let lost = lost.filter(|index| !gone.contains(index)).copied();
    let lost = lost.collect();
    Compiled {
        tables,
        state,
        notes,
        lost,
        gone,
    }
}

/// A compilation under way.
struct Compilation<'a> {
    input: Input<'a>,
    interfaces: Vec<Attached<'a>>,
    tables: Tables,
    state: State,
    notes: Vec<Note>,
}

impl<'a> Compilation<'a> {
    fn model(&self) -> &'a Model {
        self.input.model
    }

    fn interface(&self, name: &str) -> Option<Attached<'a>> {
        self.interfaces
            .iter()
            .find(|each| each.config.name == name)
            .copied()
    }

    /// Whether anything takes source addresses from the interfaces' own.
    fn uses_automap(&self, ipv6: bool) -> bool {
        let model = self.model();
        let servers = model.virtual_servers.iter().any(|server| {
            server.action.snat() == Some(&Snat::Automap) && server.address.is_ipv6() == ipv6
        });
        let egress =
            |rule: &Egress| rule.snat == Snat::Automap && rule.source.address().is_ipv6() == ipv6;
        servers || model.egress.iter().any(egress)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::core) use tests::model as example;
