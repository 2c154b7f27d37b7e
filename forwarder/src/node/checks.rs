//! Health checks of a model's backends: a task for each, results by channel.

mod ask;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::config::Model;
use crate::config::model::{self, BackendState, HealthCheck, Pool, Probe};
use crate::core::compile::BackendKey;
use crate::core::health::{FULL, Health, Rules};
use crate::core::histogram::Histogram;
use crate::io::health::{Prober, Replies, Target, TlsError};
use crate::io::worker::Worker;
use crate::io::{clock, descriptors};
pub use ask::Result;

/// Results waiting for the node, at most.
const QUEUE: usize = 1024;
/// Checks under way at most, and at least, whatever the limit of open files.
const UNDER_WAY: [u64; 2] = [64, 16_384];

/// Every backend's health, and the tasks that find it out.
#[derive(Debug)]
pub struct Checks {
    backends: BTreeMap<BackendKey, Checked>,
    /// Pools at work.
    pools: BTreeSet<String>,
    /// Their backends: who joins them gets flows once it has answered.
    members: BTreeSet<BackendKey>,
    /// How long checks took, by pool.
    durations: BTreeMap<String, Histogram>,
    /// Permits for checks under way: no more sockets than this process may have.
    permits: Arc<Semaphore>,
    /// Answers to what goes through tunnels.
    replies: Replies,
    sender: mpsc::Sender<Result>,
    results: mpsc::Receiver<Result>,
    /// Where the tasks are: so a long step of the node makes no check late.
    worker: Worker,
}

/// A backend that is checked.
#[derive(Debug)]
struct Checked {
    health: Health,
    /// How late its last check began.
    late: Duration,
    question: Question,
    _task: Task,
}

/// What is asked of whom, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    probe: Probe,
    to: Target,
    interval: Duration,
    timeout: Duration,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether every probe of a model can be made ready: its files are there and good.
pub fn ready(model: &Model) -> std::result::Result<(), TlsError> {
    let mut probes = model.health_checks.iter();
    probes.try_for_each(|check| Prober::new(&check.probe).map(drop))
}

impl Checks {
    /// Starts the checks.
    pub fn start(model: &Model) -> io::Result<Self> {
        let (sender, results) = mpsc::channel(QUEUE);
        let [least, most] = UNDER_WAY;
        let permits = (descriptors::raise_limit() / 2).clamp(least, most);
        let mut checks = Self {
            backends: BTreeMap::new(),
            pools: BTreeSet::new(),
            members: BTreeSet::new(),
            durations: BTreeMap::new(),
            permits: Arc::new(Semaphore::new(permits as usize)),
            replies: Replies::default(),
            sender,
            results,
            worker: Worker::start("health")?,
        };
        checks.extend(model);
        Ok(checks)
    }

    /// Checks what a model has beside what is checked already; what is known of those stays.
    pub fn extend(&mut self, model: &Model) {
        self.watch_vips(questions(model).map(|(_, _, to)| to));
        let mut probers = BTreeMap::new();
        for (key, check, to) in questions(model) {
            let question = Question {
                probe: check.probe.clone(),
                to,
                interval: check.interval,
                timeout: check.timeout,
            };
            if let Some(known) = self.backends.get_mut(&key) {
                known.health.set_rules(rules(check));
                if known.question == question {
                    continue;
                }
            }
            let prober = probers.entry(check.name.as_str());
            let prober = match prober.or_insert_with(|| Prober::new(&check.probe)) {
                Ok(prober) => prober.clone(),
                Err(error) => {
                    // It was good when the file was read; what is asked already goes on.
                    warn!("health check {}: {error}", check.name);
                    continue;
                }
            };
            let _task = self.watch(&key, &question, prober);
            if let Some(known) = self.backends.get_mut(&key) {
                (known.question, known._task) = (question, _task);
                continue;
            }
            let trusted = !self.joins(&key);
            let checked = Checked {
                health: Health::new(rules(check), trusted, clock::monotonic()),
                late: Duration::ZERO,
                question,
                _task,
            };
            self.backends.insert(key, checked);
        }
        self.pools = model.pools.iter().map(|pool| pool.name.clone()).collect();
        self.members = members(model).map(|(key, ..)| key).collect();
    }

    /// Lets answers in from the VIPs that these targets have, beside those that are asked already.
    fn watch_vips(&self, targets: impl Iterator<Item = Target>) {
        let asked = self.backends.values();
        let asked = asked.flat_map(|checked| &checked.question.to.tunnelled);
        let new = targets.flat_map(|to| to.tunnelled);
        let vips = asked.copied().chain(new).map(|check| check.vip);
        self.replies.watch(vips.collect(), self.worker.handle());
    }

    fn watch(&self, key: &BackendKey, question: &Question, prober: Prober) -> Task {
        let asking = ask::Asking {
            key: key.clone(),
            question: question.clone(),
            prober,
            replies: self.replies.clone(),
            permits: Arc::clone(&self.permits),
            results: self.sender.clone(),
        };
        Task(self.worker.handle().spawn(asking.run()))
    }

    /// Ends the checks that a model does not have.
    pub fn retain(&mut self, model: &Model) {
        let wanted: BTreeSet<BackendKey> = questions(model).map(|(key, ..)| key).collect();
        self.backends.retain(|key, _| wanted.contains(key));
        self.watch_vips(std::iter::empty());
        let pools = &self.pools;
        self.durations.retain(|pool, _| pools.contains(pool));
    }

    /// How long the checks of each pool's backends took.
    pub fn durations(&self) -> impl Iterator<Item = (&String, &Histogram)> {
        self.durations.iter()
    }

    /// The next results. Never come when nothing is checked.
    pub async fn next(&mut self) -> Vec<Result> {
        let mut results = Vec::new();
        self.results.recv_many(&mut results, QUEUE).await;
        results
    }

    /// Takes in a result. If the backend's status changed: what happened, in words.
    pub fn report(&mut self, result: Result) -> Option<(BackendKey, String)> {
        let Result { key, outcome, late } = result;
        let checked = self.backends.get_mut(&key)?;
        checked.late = late;
        let durations = self.durations.entry(key.pool.clone()).or_default();
        durations.observe(outcome.took);
        let health = &mut checked.health;
        let (before, time) = (health.status(), clock::monotonic());
        let now = health.report(outcome, time)?;
        let mut text = format!("{before} -> {now}: {}", health.why());
        if let Some(until) = health.held_until(time) {
            let (held, flaps) = (until.saturating_sub(time), health.flaps());
            text += &format!("; went down {flaps} times, held down for {held:?}");
        }
        info!(pool = key.pool.as_str(), backend:% = key.end(); "pool {}: backend {}: {text}", key.pool, key.end());
        Some((key, text))
    }

    /// Backends that were down when the daemon before ended stay so until they answer.
    pub fn assume_down(&mut self, down: &BTreeSet<BackendKey>) {
        for (key, checked) in &mut self.backends {
            if down.contains(key) {
                checked.health.assume_down("down when the daemon started");
            }
        }
    }

    /// Backends of a model that get nothing.
    pub fn down(&self, model: &Model) -> BTreeSet<BackendKey> {
        let down = members(model).filter(|(key, _, backend)| self.is_down(key, backend));
        down.map(|(key, ..)| key).collect()
    }

    /// Whether a backend gets nothing; as [`Self::down`] has it.
    pub fn is_down(&self, key: &BackendKey, backend: &model::Backend) -> bool {
        let is_asked = backend.state != BackendState::Disabled && backend.check.is_some();
        is_asked
            && match self.backends.get(key) {
                Some(checked) => !checked.health.counts_as_up(),
                None => self.joins(key),
            }
    }

    /// Backends of a model that have only a part of their weight, of [`FULL`].
    pub fn ramps(&self, model: &Model) -> BTreeMap<BackendKey, u8> {
        let now = clock::monotonic();
        let shares = members(model).filter_map(|(key, pool, _)| {
            let share = self.of(&key)?.share(pool.slow_start?, now);
            (share < FULL).then_some((key, share))
        });
        shares.collect()
    }

    /// Whether a backend is new in a pool at work.
    fn joins(&self, key: &BackendKey) -> bool {
        self.pools.contains(&key.pool) && !self.members.contains(key)
    }

    /// What is known of a backend; `None`: it is not checked.
    pub fn of(&self, key: &BackendKey) -> Option<&Health> {
        self.backends.get(key).map(|checked| &checked.health)
    }

    /// How late checks begin: the worst of the last ones, if that is more than an interval.
    pub fn late(&self) -> Option<Duration> {
        let checked = self.backends.values();
        let late = checked.filter(|checked| checked.late > checked.question.interval);
        late.map(|checked| checked.late).max()
    }
}

fn rules(check: &HealthCheck) -> Rules {
    Rules {
        rise: check.rise,
        fall: check.fall,
        interval: check.interval,
        max_hold: check.max_hold,
    }
}

/// Every backend that is not disabled.
fn members(model: &Model) -> impl Iterator<Item = (BackendKey, &Pool, &model::Backend)> {
    let asked = |backend: &&model::Backend| backend.state != BackendState::Disabled;
    model.pools.iter().flat_map(move |pool| {
        let backends = pool.backends.iter().filter(asked);
        backends.map(move |backend| (BackendKey::new(&pool.name, backend), pool, backend))
    })
}

/// Every backend that is to be checked, how, and where.
fn questions(model: &Model) -> impl Iterator<Item = (BackendKey, &HealthCheck, Target)> {
    let checks = model.health_checks.iter();
    let checks: BTreeMap<_, _> = checks.map(|check| (check.name.as_str(), check)).collect();
    members(model).filter_map(move |(key, _, backend)| {
        let own = backend.check.as_ref()?;
        let to = Target {
            address: own.address,
            port: own.port,
            tunnelled: own.tunnelled.clone(),
        };
        Some((key, *checks.get(own.health_check.as_str())?, to))
    })
}
