//! Changes of the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RoleChange;
use crate::core::{difference, history, op};

/// Body of `POST /v1/plan` and `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// The file, for messages and for later reloads; `null`: the one that the daemon runs with.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What is in it; `null`: the daemon reads it itself, which it does only for the one that it
    /// runs with.
    #[serde(default)]
    pub text: Option<String>,
    /// This node's name; `null`: as before.
    #[serde(default)]
    pub node: Option<String>,
}

/// What would change, or has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The file.
    pub config: PathBuf,
    /// SHA-256 of its text, as `sha256sum` shows it.
    pub config_hash: String,
    /// What differs from the running configuration, in the words of the file.
    pub changes: Vec<Difference>,
    /// Changes of map elements, in order.
    pub ops: Vec<Op>,
    /// Warnings about the file, and what does not work with it.
    pub warnings: Vec<String>,
}

/// One thing of the file that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// `add`, `remove` or `change`.
    pub change: String,
    /// What kind of thing.
    pub kind: String,
    /// Its name; a backend's with its pool's in front.
    pub name: String,
    /// For a changed one: each key with its old and new value.
    pub details: Vec<String>,
}

impl From<difference::Difference> for Difference {
    fn from(difference: difference::Difference) -> Self {
        Self {
            change: difference.change.word().to_owned(),
            kind: difference.kind.to_owned(),
            name: difference.name,
            details: difference.details,
        }
    }
}

/// A change of one map element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Op {
    /// `set` or `remove`.
    pub op: String,
    /// What kind of element.
    pub table: String,
    /// Which one.
    pub key: String,
    /// Its new value; `null`: it is removed.
    pub value: Option<String>,
}

impl From<&op::Op> for Op {
    fn from(op: &op::Op) -> Self {
        Self {
            op: op.verb().to_owned(),
            table: op.table().to_owned(),
            key: op.key(),
            value: op.value(),
        }
    }
}

/// Body of `POST /v1/override`: a change of one backend until the next reload. Absent: stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// The pool.
    pub pool: String,
    /// The backend: its name, or its address.
    pub backend: String,
    /// `enabled`, `drained` or `disabled`.
    #[serde(default)]
    pub state: Option<String>,
    /// Share of new flows, 0–100.
    #[serde(default)]
    pub weight: Option<u8>,
}

/// Answer to `GET /v1/config`: the running configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningConfig {
    /// The file it was read from.
    pub file: PathBuf,
    /// SHA-256 of its text.
    pub hash: String,
    /// The text.
    pub text: String,
}

/// Answer to `GET /v1/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The latest events, oldest first.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts up from 1 since the daemon started; the first ones are forgotten in time.
    pub number: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_milliseconds: u64,
    /// `config`, `override`, `health`, `interface`, `role` or `problem`.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What happened, and why.
    pub text: String,
    /// Of kind `role`: the change; `null` of other kinds.
    pub role: Option<RoleChange>,
}

impl From<&history::Event> for Event {
    fn from(event: &history::Event) -> Self {
        Self {
            number: event.number,
            at_milliseconds: u64::try_from(event.at.as_millis()).unwrap_or(u64::MAX),
            kind: event.kind.word().to_owned(),
            subject: event.subject.clone(),
            text: event.text.clone(),
            role: event
                .turn
                .as_ref()
                .map(|turn| RoleChange::new(event.at, turn)),
        }
    }
}
