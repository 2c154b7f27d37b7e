//! Somebody who fetches a page again and again, on a connection of its own each time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::http;
use crate::namespace::Namespace;

/// Fetches until it is dropped.
pub struct Visits {
    answered: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Visits {
    /// Begins; a visit that is not answered in time is given up.
    pub fn start(
        host: &Namespace,
        server: SocketAddr,
        interval: Duration,
        timeout: Duration,
    ) -> Result<Self> {
        let answered = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (all, stopped) = (Arc::clone(&answered), Arc::clone(&stop));
        let thread = host.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let next = Instant::now() + interval;
                if http::get(server, "/", timeout).is_ok() {
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Instant::now());
                }
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        })?;
        Ok(Self {
            answered,
            stop,
            thread: Some(thread),
        })
    }

    /// How many were answered since then.
    pub fn since(&self, begin: Instant) -> usize {
        let all = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|at| **at > begin).count()
    }

    /// The longest time between two answers, the later of which came since then.
    pub fn gap(&self, begin: Instant) -> Duration {
        let all = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = all.iter().zip(all.iter().skip(1));
        let pairs = pairs.filter(|(_, later)| **later > begin);
        let gaps = pairs.map(|(one, other)| *other - *one);
        gaps.max().unwrap_or_default()
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
