//! What the operator changed of pools at run time, on top of the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Model;
use crate::config::model::{Backend, BackendState};

/// A change of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Enable, drain or disable it.
    State(BackendState),
    /// Its share of new flows, 0–100.
    Weight(u8),
}

/// What differs from the file for one backend; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// State.
    pub state: Option<BackendState>,
    /// Weight.
    pub weight: Option<u8>,
}

/// Every backend that is not as the file has it, by pool and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Saved>", into = "Vec<Saved>")]
pub struct Overrides(BTreeMap<(String, String), Override>);

impl Overrides {
    /// Takes in a change to a backend of the file. What is as the file has it is no override.
    pub fn set(&mut self, pool: &str, backend: &Backend, change: Change) {
        let key = (pool.to_owned(), backend.name.clone());
        let mut wanted = self.0.get(&key).copied().unwrap_or_default();
        match change {
            Change::State(state) => wanted.state = (state != backend.state).then_some(state),
            Change::Weight(weight) => wanted.weight = (weight != backend.weight).then_some(weight),
        }
        if wanted == Override::default() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, wanted);
        }
    }

    /// What differs for a backend.
    pub fn of(&self, pool: &str, backend: &str) -> Option<Override> {
        self.0.get(&(pool.to_owned(), backend.to_owned())).copied()
    }

    /// Whether everything is as the file has it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file's model with the changes in it.
    pub fn apply(&self, file: &Model) -> Model {
        let mut model = file.clone();
        if self.is_empty() {
            return model;
        }
        for pool in &mut model.pools {
            for backend in &mut pool.backends {
                *backend = self.applied(&pool.name, backend);
            }
        }
        model
    }

    /// The file's backend with its changes in it.
    pub fn applied(&self, pool: &str, backend: &Backend) -> Backend {
        let mut backend = backend.clone();
        if let Some(Override { state, weight }) = self.of(pool, &backend.name) {
            backend.state = state.unwrap_or(backend.state);
            backend.weight = weight.unwrap_or(backend.weight);
        }
        backend
    }
}

/// One of them as it is kept from one daemon to the next.
#[derive(Serialize, Deserialize)]
struct Saved {
    pool: String,
    backend: String,
    #[serde(flatten)]
    wanted: Override,
}

impl From<Overrides> for Vec<Saved> {
    fn from(overrides: Overrides) -> Self {
        let each = overrides.0.into_iter();
        let saved = each.map(|((pool, backend), wanted)| Saved {
            pool,
            backend,
            wanted,
        });
        saved.collect()
    }
}

impl From<Vec<Saved>> for Overrides {
    fn from(saved: Vec<Saved>) -> Self {
        let each = saved.into_iter();
        let overrides = each.map(|saved| ((saved.pool, saved.backend), saved.wanted));
        Self(overrides.collect())
    }
}

/// The backend of this name, or of this address if only one of the pool has it.
///
/// # Errors
/// Which pools or backends there are.
pub fn find<'a>(model: &'a Model, pool: &str, name: &str) -> Result<&'a Backend, String> {
    let list = |names: Vec<&str>| names.join(", ");
    let Some(found) = model.pool(pool) else {
        let names = list(model.pools.iter().map(|pool| pool.name.as_str()).collect());
        return Err(format!("there is no pool {pool}; there are: {names}"));
    };
    let backends = &found.backends;
    if let Some(backend) = backends.iter().find(|backend| backend.name == name) {
        return Ok(backend);
    }
    let by_address = |backend: &&Backend| backend.address.to_string() == name;
    let mut addressed = backends.iter().filter(by_address);
    match (addressed.next(), addressed.next()) {
        (Some(backend), None) => Ok(backend),
        _ => {
            let names = list(backends.iter().map(|each| each.name.as_str()).collect());
            Err(format!(
                "pool {pool} has no backend {name}; it has: {names}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn model() -> Model {
        let text = "version = 1\n\
            interface = [{ name = \"a\", device = \"eth0\", address = \"10.0.2.1/24\" }]\n\
            virtual_server = [{ name = \"v\", address = \"203.0.113.10\", port = 80, mode = \"dnat\", pool = \"p\" }]\n\
            [[pool]]\nname = \"p\"\nbackend = [\n\
            { name = \"one\", address = \"10.0.2.11\" },\n\
            { address = \"10.0.2.12\", port = 80, state = \"drained\" },\n\
            { address = \"10.0.2.13\", port = 80 }, { address = \"10.0.2.13\", port = 81 }]\n";
        let config = config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"));
        config.for_node(None).expect("a model")
    }

    #[test]
    fn what_the_file_says_is_no_override() {
        let file = model();
        let mut overrides = Overrides::default();
        let one = find(&file, "p", "one").expect("one");
        overrides.set("p", one, Change::State(BackendState::Drained));
        overrides.set("p", one, Change::Weight(7));
        let changed = overrides.apply(&file);
        let one_now = find(&changed, "p", "10.0.2.11").expect("by its address");
        assert_eq!((one_now.state, one_now.weight), (BackendState::Drained, 7));
        overrides.set("p", one, Change::Weight(1));
        let left = overrides.of("p", "one").expect("an override");
        assert_eq!(
            (left.state, left.weight),
            (Some(BackendState::Drained), None)
        );
        let text = serde_json::to_string(&overrides).expect("text");
        let kept: Overrides = serde_json::from_str(&text).expect("overrides");
        assert_eq!(kept, overrides, "{text}");
        overrides.set("p", one, Change::State(BackendState::Enabled));
        assert_eq!(overrides, Overrides::default());
        assert_eq!(overrides.apply(&file), file);
        let drained = find(&file, "p", "10.0.2.12:80").expect("by its default name");
        overrides.set("p", drained, Change::State(BackendState::Drained));
        assert_eq!(overrides, Overrides::default());
    }

    #[test]
    fn says_what_there_is() {
        let file = model();
        let unknown = find(&file, "q", "one").expect_err("no such pool");
        assert_eq!(unknown, "there is no pool q; there are: p");
        let ambiguous = find(&file, "p", "10.0.2.13").expect_err("two have it");
        assert!(ambiguous.ends_with("it has: one, 10.0.2.12:80, 10.0.2.13:80, 10.0.2.13:81"));
    }
}
