//! Virtual servers whose flows may be quiet for a time of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forwarder_common::flow::SECOND_SHIFT;

/// The data plane's seconds, by id of the virtual server. Set by the node, read by the walks.
#[derive(Debug, Default)]
pub struct IdleTimes(Mutex<Arc<BTreeMap<u32, u32>>>);

impl IdleTimes {
    /// Other times.
    pub fn set(&self, times: &BTreeMap<u32, Duration>) {
        let seconds = |time: &Duration| (time.as_nanos() >> SECOND_SHIFT).max(1) as u32;
        let times = times.iter().map(|(id, time)| (*id, seconds(time)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(times.collect());
    }

    /// Those that hold now.
    pub fn get(&self) -> Arc<BTreeMap<u32, u32>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
