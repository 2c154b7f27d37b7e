//! What others and the thread that tells of flows have to tell each other.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::core::compile::Memory;
use crate::core::pair::sync::Groups;
use crate::core::pair::sync::backends::{Backends, Remembered};
use crate::core::pair::sync::names::Names;
use crate::core::pair::sync::sender::Sent;
use crate::core::pair::wire::Refusal;
use crate::dataplane::bpf::flow_events::EventCounts;

/// What the pair's thread knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// For which groups this node is active, or still hands over.
    pub active: Groups,
    /// For which it is standby.
    pub standby: Groups,
    /// The highest epoch of each group.
    pub epochs: Vec<u64>,
    /// The process of the peer; 0: none.
    pub peer: u64,
    /// Whether each path works.
    pub up: Vec<bool>,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncView {
    /// What was sent.
    pub sent: Sent,
    /// Entries that wait for the peer to have applied them.
    pub waiting: u64,
    /// Whether the peer listens. While it does not, nothing waits for it: it is told all there is when it does.
    #[serde(default)]
    pub heard: bool,
    /// For how long the first of them has waited.
    pub lag_microseconds: u64,
    /// Whether one node has all that the other had when it began to tell: the active as it knows from the
    /// peer, the standby for itself; both, if each node is active for some groups.
    pub complete: bool,
    /// Entries that the peer told and that are in the maps.
    pub received: u64,
    /// Of these, how often a flow of a DSR mode keeps another backend than others of its slot.
    pub kept: u64,
    /// Those of them that the lookup tables take into account.
    pub consulted: u64,
    /// Entries of virtual servers, egress rules, backends or interfaces that this node does not know.
    pub unknown: u64,
    /// Entries of kinds that this version does not know: the peer's is a later one.
    #[serde(default)]
    pub foreign: u64,
    /// Entries for which the maps had no room.
    pub no_room: u64,
    /// Entries that were removed because the peer did not have them.
    pub swept: u64,
    /// Events for which the ring had no room; everything was told again.
    pub events_lost: u64,
    /// Datagrams that changed nothing.
    pub refused: u64,
    /// Microseconds of CPU that the thread has used.
    pub cpu_microseconds: u64,
}

/// What others and the thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) situation: Mutex<Situation>,
    pub(super) names: Mutex<Arc<Names>>,
    /// What this node makes of backends, and what the slots of the tables made of them remember.
    pub(super) backends: Mutex<(Arc<Backends>, Arc<Memory>)>,
    /// What the peer makes of them, while it is active and this node is not.
    pub(super) followed: Mutex<Option<Arc<Backends>>>,
    /// Likewise what its slots remembered when this node began to listen.
    pub(super) past: Mutex<Option<Arc<Remembered>>>,
    /// The peer is to tell all of it again.
    pub(super) again: AtomicBool,
    /// It is another.
    pub(super) news: Notify,
    pub(super) view: Mutex<(SyncView, u64)>,
    /// Datagrams that changed nothing.
    pub(super) refused: Mutex<BTreeMap<Refusal, u64>>,
    /// Which process of the peer was told, and up to when.
    pub(super) told: Mutex<(u64, Duration)>,
    pub(super) stop: Mutex<bool>,
}

/// Tells the thread of changes, and shows what it does.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) counts: Arc<EventCounts>,
    pub(super) waker: Arc<UnixDatagram>,
}

impl Handle {
    /// The pair has changed.
    pub fn situation(&self, situation: Situation) {
        set(&self.shared.situation, situation);
        self.wake();
    }

    /// Things are called otherwise.
    pub fn names(&self, names: Names) {
        set(&self.shared.names, Arc::new(names));
        self.wake();
    }

    /// This node makes something else of its backends, or slots remember something else.
    pub fn backends(&self, backends: Arc<Backends>, memory: Arc<Memory>) {
        set(&self.shared.backends, (backends, memory));
        self.wake();
    }

    /// What the peer makes of backends, while this node is to do the same.
    pub fn followed(&self) -> Option<Arc<Backends>> {
        lock(&self.shared.followed).clone()
    }

    /// What slots of the peer's tables remembered when this node began to listen, and of which backends they
    /// were made.
    pub fn past(&self) -> Option<Arc<Remembered>> {
        lock(&self.shared.past).clone()
    }

    /// That could not be used: the peer is to tell all again.
    pub fn again(&self) {
        self.shared.again.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Lets whoever waits for news look once more.
    pub fn look_again(&self) {
        self.shared.news.notify_one();
    }

    /// Waits until that is another.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// What is to be seen.
    pub fn view(&self) -> SyncView {
        let (mut view, taken) = *lock(&self.shared.view);
        // What is in the ring waits too.
        let made = self.counts.read().map_or(taken, |[made, _]| made);
        view.waiting += made.saturating_sub(taken);
        view
    }

    /// Datagrams that changed nothing, by reason.
    pub fn refused(&self) -> BTreeMap<Refusal, u64> {
        lock(&self.shared.refused).clone()
    }

    /// Which process of the peer was told of what happened to flows, and up to when.
    pub fn told(&self) -> (u64, Duration) {
        *lock(&self.shared.told)
    }

    /// Lets the thread look at what has happened, at once.
    pub fn wake(&self) {
        // A thread that is awake already needs no waking.
        let _ = self.waker.send(&[0]);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        set(&self.shared.stop, true);
        self.wake();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn set<T>(mutex: &Mutex<T>, value: T) {
    *lock(mutex) = value;
}
