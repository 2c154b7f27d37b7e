//! `trace`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Dropped;

/// Body of `POST /v1/trace`: a packet in words, as a frame, or the one that was dropped last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The interface it comes in by: its name in the file, or the kernel's. It may stand in the words.
    #[serde(default)]
    pub interface: Option<String>,
    /// The packet in words: `tcp 198.51.100.7:40112 -> 203.0.113.10:80`.
    #[serde(default)]
    pub packet: Option<String>,
    /// An Ethernet frame in hexadecimal. A destination MAC address of zeros stands for the interface's.
    #[serde(default)]
    pub frame: Option<String>,
    /// Its length on the wire, bytes, where `frame` is only its beginning: the rest is taken as zeros.
    #[serde(default)]
    pub length: Option<u32>,
    /// The packet that was dropped last, at the interface that it came in by.
    #[serde(default)]
    pub last_drop: bool,
    /// The one that was dropped last for this reason, with `last_drop`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Answer to `POST /v1/trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// The interface it came in by: the name in the file.
    pub interface: String,
    /// The packet in words.
    pub packet: String,
    /// The drop that it was taken from, if it was; everything else is about now.
    pub dropped: Option<Dropped>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// The virtual server that has it.
    pub virtual_server: Option<String>,
    /// The pool and the backend that were chosen, by name.
    pub pool: Option<String>,
    /// See `pool`.
    pub backend: Option<String>,
    /// The device it leaves by.
    pub device: Option<String>,
    /// What leaves, or is handed to the host, in words; `null`: it is dropped.
    pub becomes: Option<String>,
    /// `pass`, `forward`, `answer` or `drop`.
    pub outcome: String,
    /// The reason's name.
    pub reason: String,
    /// What the reason means.
    pub meaning: String,
    /// What to do, the most pressing first; at least one step.
    pub next: Vec<Step>,
}

/// A stage of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// What it looked up and found.
    pub found: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What is the matter.
    pub text: String,
    /// What to type.
    pub command: Option<String>,
}
