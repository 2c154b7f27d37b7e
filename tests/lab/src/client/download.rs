//! A download that does not end, every byte of which is checked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use super::http::Connection;
use crate::namespace::Namespace;

/// More than anybody waits for.
const LENGTH: u64 = 1 << 40;
/// What is read at once, and the pause after it: the network is not to be filled.
const PART: usize = 32 << 10;
const PAUSE: Duration = Duration::from_millis(5);
/// After so long without a byte it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running download; it ends when dropped.
pub struct Download {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: AtomicU64,
    over: AtomicBool,
    broken: Mutex<Option<String>>,
}

impl Download {
    /// Begins it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn start(client: &Namespace, server: SocketAddr) -> Result<Self> {
        let mut connection = client.run(|| Connection::open(server, PATIENCE))?;
        connection.begin_download(LENGTH)?;
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let thread = client.spawn(move || {
            let mut part = vec![0; PART];
            while !told.over.load(Ordering::Relaxed) {
                let position = told.received.load(Ordering::Relaxed);
                match connection.read_pattern(position, &mut part) {
                    Ok(length) => told.received.fetch_add(length, Ordering::Relaxed),
                    Err(error) => {
                        let mut broken = told.broken.lock().unwrap_or_else(PoisonError::into_inner);
                        *broken = Some(format!("after {position} bytes: {error:#}"));
                        return;
                    }
                };
                thread::sleep(PAUSE);
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Why it is broken, if it is.
    pub fn broken(&self) -> Option<String> {
        let broken = self.shared.broken.lock();
        broken.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
