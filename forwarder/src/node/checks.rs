//! Health checks of a model's backends: a task for each, results by channel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use log::info;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Model;
use crate::config::model::{BackendState, Probe};
use crate::core::compile::BackendKey;
use crate::core::health::{Health, Outcome, Schedule, Status};
use crate::io::{clock, health};

/// Results waiting for the node, at most.
const QUEUE: usize = 1024;

/// The outcome of one check.
pub type Result = (BackendKey, Outcome);

/// Every backend's health, and the tasks that find it out.
#[derive(Debug)]
pub struct Checks {
    health: BTreeMap<BackendKey, Health>,
    results: mpsc::Receiver<Result>,
    // Dropping it ends the tasks.
    _tasks: JoinSet<()>,
}

impl Checks {
    /// Starts the checks.
    pub fn start(model: &Model) -> Self {
        let now = clock::monotonic();
        let (sender, results) = mpsc::channel(QUEUE);
        let mut health = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for pool in &model.pools {
            let Some(check) = pool
                .health_check
                .as_ref()
                .and_then(|name| model.health_check(name))
            else {
                continue;
            };
            for backend in &pool.backends {
                let Some(port) = backend.check_port else {
                    continue;
                };
                if backend.state == BackendState::Disabled {
                    continue;
                }
                let key = BackendKey::new(&pool.name, backend);
                health.insert(key.clone(), Health::new(check.rise, check.fall, now));
                let to = SocketAddr::new(backend.address, port.get());
                let identity = format!("{} {to}", pool.name);
                let schedule = Schedule::new(check.interval, &identity, now);
                tasks.spawn(watch(
                    key,
                    check.probe.clone(),
                    to,
                    check.timeout,
                    schedule,
                    sender.clone(),
                ));
            }
        }
        Self {
            health,
            results,
            _tasks: tasks,
        }
    }

    /// The next result. Never comes when nothing is checked.
    pub async fn next(&mut self) -> Result {
        match self.results.recv().await {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    /// Takes in a result; whether the backend's status changed.
    pub fn report(&mut self, (key, outcome): Result) -> bool {
        let Some(health) = self.health.get_mut(&key) else {
            return false;
        };
        let before = health.status();
        let Some(now) = health.report(outcome, clock::monotonic()) else {
            return false;
        };
        info!(
            "pool {}: backend {}: {before} -> {now}: {}",
            key.pool,
            key.end(),
            health.why()
        );
        true
    }

    /// Backends that are down.
    pub fn down(&self) -> BTreeSet<BackendKey> {
        let down = self
            .health
            .iter()
            .filter(|(_, health)| health.status() == Status::Down);
        down.map(|(key, _)| key.clone()).collect()
    }

    /// What is known of a backend; `None`: it is not checked.
    pub fn of(&self, key: &BackendKey) -> Option<&Health> {
        self.health.get(key)
    }
}

async fn watch(
    key: BackendKey,
    probe: Probe,
    to: SocketAddr,
    timeout: Duration,
    mut schedule: Schedule,
    results: mpsc::Sender<Result>,
) {
    loop {
        tokio::time::sleep(schedule.next().saturating_sub(clock::monotonic())).await;
        schedule.advance(clock::monotonic());
        let outcome = health::probe(&probe, to, timeout)
            .await
            .map_err(|error| error.to_string());
        if results.send((key.clone(), outcome)).await.is_err() {
            return;
        }
    }
}
