//! What a daemon must know of the one before it, in a map of its own: it lives exactly as long as the
//! maps that it explains.

use std::fs;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use forwarder_common::hash::HashKey;
use serde::{Deserialize, Serialize};

use super::{PinError, unlink};
use crate::core::compile::Snapshot;
use crate::core::overrides::Overrides;

const NAME: &str = "RECORD";
const CHUNK: usize = 4096;
/// Bytes of a record at most: ids of 100,000 backends fit several times.
const LARGEST: usize = 64 << 20;

type Chunk = [u8; CHUNK];

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Key of the flow hash: with another one every flow would go elsewhere.
    pub hash_key: HashKey,
    /// Which id belongs to what.
    pub snapshot: Snapshot,
    /// What was changed of pools at run time.
    #[serde(default)]
    pub overrides: Overrides,
    /// SHA-256 of the file that they were made on top of.
    #[serde(default)]
    pub config_hash: String,
}

impl Record {
    /// Whether a generation has one.
    pub fn is_there(generation: &Path) -> bool {
        generation.join(NAME).exists()
    }

    /// Reads a generation's record; `None`: it has none.
    pub fn read(generation: &Path) -> Result<Option<Self>, PinError> {
        let path = generation.join(NAME);
        if !Self::is_there(generation) {
            return Ok(None);
        }
        let failed = |error| PinError::aya(&path, error);
        let map = Map::from_map_data(MapData::from_pin(&path).map_err(failed)?).map_err(failed)?;
        let map: Array<_, Chunk> = map.try_into().map_err(failed)?;
        let head = map.get(&0, 0).map_err(failed)?;
        let length = head
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let damaged = |reason: String| PinError::Record {
            path: path.clone(),
            reason,
        };
        if length.div_ceil(CHUNK) >= map.len() as usize || length > LARGEST {
            return Err(damaged(format!("a length of {length} bytes")));
        }
        let mut text = Vec::with_capacity(length);
        for index in 1..map.len() {
            text.extend(map.get(&index, 0).map_err(failed)?);
        }
        text.truncate(length);
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| damaged(error.to_string()))
    }

    /// Puts the record into a generation, in place of the one that is there: whole or not at all.
    pub fn write(&self, generation: &Path) -> Result<(), PinError> {
        let (path, new) = (generation.join(NAME), generation.join("RECORD-new"));
        let text = serde_json::to_vec(self).map_err(|error| PinError::io(&path, error.into()))?;
        let failed = |error| PinError::aya(&path, error);
        let entries = text.len().div_ceil(CHUNK) as u32 + 1;
        let mut map = Array::<MapData, Chunk>::create(entries, 0).map_err(failed)?;
        let chunks = text.chunks(CHUNK).map(padded);
        let head = padded(&(text.len() as u64).to_ne_bytes());
        for (index, chunk) in (0..).zip(std::iter::once(head).chain(chunks)) {
            map.set(index, chunk, 0).map_err(failed)?;
        }
        unlink(&new)?;
        map.pin(&new).map_err(|error| PinError::aya(&new, error))?;
        fs::rename(&new, &path).map_err(|error| PinError::io(&path, error))
    }
}

fn padded(bytes: &[u8]) -> Chunk {
    let mut chunk = [0; CHUNK];
    chunk[..bytes.len()].copy_from_slice(bytes);
    chunk
}
