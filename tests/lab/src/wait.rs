//! Waiting for a state.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `state` again and again until it is true.
///
/// # Errors
/// When `limit` has passed; `what` says what was waited for.
pub fn wait_until(what: &str, limit: Duration, mut state: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !state() {
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
