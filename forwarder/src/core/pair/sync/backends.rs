//! What the active node makes of backends, beside the file: both nodes make their lookup tables of it, so
//! that they send every flow to the same backend at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::wire::Refusal;
use super::Entry;
use crate::core::compile::{BackendKey, Past};
use crate::core::overrides::Overrides;

/// Bytes of a part.
const PART: usize = 1024;

/// What lookup tables depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// What the operator changed.
    pub overrides: Overrides,
    /// Who is down.
    pub down: BTreeSet<BackendKey>,
    /// Who has only a part of its weight.
    ramps: Vec<(BackendKey, u8)>,
}

impl Backends {
    /// Of these.
    pub fn new(
        overrides: Overrides,
        down: BTreeSet<BackendKey>,
        ramps: BTreeMap<BackendKey, u8>,
    ) -> Self {
        Self {
            overrides,
            down,
            ramps: ramps.into_iter().collect(),
        }
    }

    /// Who has only a part of its weight.
    pub fn ramps(&self) -> BTreeMap<BackendKey, u8> {
        self.ramps.iter().cloned().collect()
    }

    /// All of it, in parts that fit in chunks.
    pub fn entries(&self) -> Vec<Entry> {
        in_parts(self, Entry::Backends)
    }
}

/// Something in parts that fit in chunks, each said whether it is the last.
pub fn in_parts(whole: &impl Serialize, entry: impl Fn(bool, Vec<u8>) -> Entry) -> Vec<Entry> {
    // Of words and numbers alone: that is always written.
    let text = serde_json::to_vec(whole).unwrap_or_default();
    let parts = text.chunks(PART);
    let last = parts.len().saturating_sub(1);
    let parts = parts.enumerate();
    parts
        .map(|(at, part)| entry(at == last, part.to_vec()))
        .collect()
}

/// What the slots of the peer's tables remembered, and the backends that the tables are made of.
#[derive(Debug)]
pub struct Remembered {
    /// Of these.
    pub backends: Arc<Backends>,
    /// What they remembered.
    pub past: Past,
}

/// Puts the parts together.
#[derive(Debug, Default)]
pub struct Parts(Vec<u8>);

impl Parts {
    /// Another stream begins.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The next part. With the last one: what it says.
    ///
    /// # Errors
    /// It is nothing that can be read.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        last: bool,
        part: &[u8],
    ) -> Result<Option<T>, Refusal> {
        self.0.extend(part);
        if !last {
            return Ok(None);
        }
        let all = std::mem::take(&mut self.0);
        serde_json::from_slice(&all)
            .map(Some)
            .map_err(|_| Refusal::Nonsense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole_again() {
        let key = |port| BackendKey {
            pool: "a pool with a name that takes room".to_owned(),
            address: [192, 0, 2, 1].into(),
            port,
        };
        let down: BTreeSet<_> = (1..100).map(key).collect();
        let ramps = BTreeMap::from([(key(200), 30)]);
        let backends = Backends::new(Overrides::default(), down, ramps.clone());
        let entries = backends.entries();
        assert!(entries.len() > 2);
        let mut chunk = Vec::new();
        let mut parts = Parts::default();
        let mut whole = None;
        for entry in &entries {
            chunk.clear();
            entry.encode(&mut chunk);
            assert!(chunk.len() <= super::super::CHUNK);
            Entry::decode_all(&chunk, |decoded| {
                assert_eq!(decoded, *entry);
                let Entry::Backends(last, part) = decoded else {
                    panic!("{decoded:?}");
                };
                whole = parts.take(last, &part).expect("good");
            })
            .expect("good");
        }
        assert_eq!(whole.as_ref(), Some(&backends));
        assert_eq!(backends.ramps(), ramps);
        assert!(parts.take::<Backends>(true, b"nonsense").is_err());
    }
}
