//! What was dropped last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drops {
    /// The last packet for every reason there was one for, the newest first.
    pub drops: Vec<Dropped>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// The reason's name.
    pub reason: String,
    /// What the reason means.
    pub meaning: String,
    /// How long ago, whole seconds.
    pub seconds_ago: u64,
    /// The interface it came in by: the name in the file, else the kernel's; `null`: it is gone.
    pub interface: Option<String>,
    /// The packet in words.
    pub packet: String,
    /// Bytes of the frame.
    pub bytes: u32,
    /// How many of them were kept.
    pub kept: u32,
}
