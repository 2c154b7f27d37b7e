//! Virtual servers whose flows are forgotten in a way of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// When and how flows are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// How long they may be quiet, in the data plane's seconds; `None`: as long as others.
    pub seconds: Option<u32>,
    /// Whether both ends of a TCP connection are told.
    pub reset: bool,
}

/// By id of the virtual server. Set by the node, read by the walks.
#[derive(Debug, Default)]
pub struct IdleTimes(Mutex<Arc<BTreeMap<u32, Idle>>>);

impl IdleTimes {
    /// Others.
    pub fn set(&self, times: BTreeMap<u32, Idle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(times);
    }

    /// Those that hold now.
    pub fn get(&self) -> Arc<BTreeMap<u32, Idle>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
