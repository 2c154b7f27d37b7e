//! Knows beforehand where everything is, so that a takeover begins with what moves it.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::{Mutex, watch};

use super::Board;
use super::api::{Api, Found};
use crate::io::clock;

/// What the board calls it.
const ABOUT: &str = "looking where things are";

/// What was found, and when it was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What.
    pub found: Arc<Found>,
    /// When it was asked.
    pub at: Duration,
}

/// Looks from time to time, and when somebody wants to know.
pub struct Scout<A> {
    api: Arc<A>,
    refresh: Duration,
    board: Board,
    seen: watch::Sender<Option<Seen>>,
    /// One look at a time.
    busy: Mutex<()>,
}

impl<A: Api> Scout<A> {
    pub fn new(api: Arc<A>, refresh: Duration, board: &Board) -> Self {
        Self {
            api,
            refresh,
            board: board.clone(),
            seen: watch::Sender::new(None),
            busy: Mutex::default(),
        }
    }

    /// Between two looks when all is well.
    pub fn refresh(&self) -> Duration {
        self.refresh
    }

    /// Looks for ever.
    pub async fn run(&self) {
        loop {
            // What is wrong is on the board.
            let _ = self.look().await;
            tokio::time::sleep(self.refresh).await;
        }
    }

    /// What was seen last; waits for the first look that goes well.
    pub async fn known(&self) -> Arc<Found> {
        let mut seen = self.seen.subscribe();
        loop {
            if let Some(seen) = &*seen.borrow_and_update() {
                return Arc::clone(&seen.found);
            }
            // The sender is this scout's own.
            let _ = seen.changed().await;
        }
    }

    /// Looks now.
    pub async fn look(&self) -> Result<Arc<Found>, String> {
        self.see().await.map(|seen| seen.found)
    }

    /// Looks now, or waits for a look that somebody else begins from now on.
    pub async fn see(&self) -> Result<Seen, String> {
        let wanted = clock::monotonic();
        let _busy = self.busy.lock().await;
        if let Some(seen) = &*self.seen.borrow()
            && seen.at >= wanted
        {
            return Ok(seen.clone());
        }
        let at = clock::monotonic();
        match self.api.look().await {
            Ok(found) => {
                let found = Arc::new(found);
                let seen = Seen { found, at };
                if self.seen.borrow().is_none() {
                    info!("cloud: it is known where everything is");
                }
                self.board.problem(ABOUT, None);
                self.seen.send_replace(Some(seen.clone()));
                Ok(seen)
            }
            Err(error) => {
                warn!("cloud: {error}");
                self.board.problem(ABOUT, Some(error.clone()));
                Err(error)
            }
        }
    }
}
