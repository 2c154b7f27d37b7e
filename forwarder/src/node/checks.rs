//! Health checks of a model's backends: a task for each, results by channel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use log::info;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Model;
use crate::config::model::{self, BackendState, HealthCheck, Probe};
use crate::core::compile::BackendKey;
use crate::core::health::{Health, Outcome, Schedule, Status};
use crate::core::histogram::Histogram;
use crate::io::{clock, health};

/// Results waiting for the node, at most.
const QUEUE: usize = 1024;

/// The outcome of one check, and how long it took.
pub type Result = (BackendKey, Outcome, Duration);

/// How many checks a backend has answered, and how many not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Answered.
    pub good: u64,
    /// Not answered, or not as they ought to be.
    pub bad: u64,
}

/// Every backend's health, and the tasks that find it out.
#[derive(Debug)]
pub struct Checks {
    backends: BTreeMap<BackendKey, Checked>,
    /// Pools at work whose backends are checked: who joins one gets flows once it has answered.
    pools: BTreeSet<String>,
    /// How long checks took, by pool.
    durations: BTreeMap<String, Histogram>,
    sender: mpsc::Sender<Result>,
    results: mpsc::Receiver<Result>,
}

/// A backend that is checked.
#[derive(Debug)]
struct Checked {
    health: Health,
    results: Results,
    /// It joined a pool at work and has not answered yet.
    joins: bool,
    question: Question,
    _task: Task,
}

/// What is asked of whom, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    probe: Probe,
    to: SocketAddr,
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

impl Checks {
    /// Starts the checks.
    pub fn start(model: &Model) -> Self {
        let (sender, results) = mpsc::channel(QUEUE);
        let mut checks = Self {
            backends: BTreeMap::new(),
            pools: BTreeSet::new(),
            durations: BTreeMap::new(),
            sender,
            results,
        };
        checks.extend(model);
        checks
    }

    /// Checks what a model has beside what is checked already; what is known of those stays.
    pub fn extend(&mut self, model: &Model) {
        for (key, check, to) in questions(model) {
            let question = Question {
                probe: check.probe.clone(),
                to,
                interval: check.interval,
                timeout: check.timeout,
            };
            if let Some(known) = self.backends.get_mut(&key) {
                known.health.set_thresholds(check.rise, check.fall);
                if known.question != question {
                    known._task = watch(&key, &question, &self.sender);
                    known.question = question;
                }
                continue;
            }
            let checked = Checked {
                health: Health::new(check.rise, check.fall, clock::monotonic()),
                results: Results::default(),
                joins: self.pools.contains(&key.pool),
                _task: watch(&key, &question, &self.sender),
                question,
            };
            self.backends.insert(key, checked);
        }
        let pools = model.pools.iter();
        let checked = pools.filter(|pool| pool.health_check.is_some());
        self.pools = checked.map(|pool| pool.name.clone()).collect();
    }

    /// Ends the checks that a model does not have.
    pub fn retain(&mut self, model: &Model) {
        let wanted: BTreeSet<BackendKey> = questions(model).map(|(key, ..)| key).collect();
        self.backends.retain(|key, _| wanted.contains(key));
        let pools = &self.pools;
        self.durations.retain(|pool, _| pools.contains(pool));
    }

    /// Results of a backend's checks; `None`: it is not checked.
    pub fn results(&self, key: &BackendKey) -> Option<Results> {
        self.backends.get(key).map(|checked| checked.results)
    }

    /// How long the checks of each pool's backends took.
    pub fn durations(&self) -> impl Iterator<Item = (&String, &Histogram)> {
        self.durations.iter()
    }

    /// The next result. Never comes when nothing is checked.
    pub async fn next(&mut self) -> Result {
        match self.results.recv().await {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    /// Takes in a result. If the backend's status changed: what happened, in words.
    pub fn report(&mut self, (key, outcome, took): Result) -> Option<(BackendKey, String)> {
        let checked = self.backends.get_mut(&key)?;
        let durations = self.durations.entry(key.pool.clone()).or_default();
        durations.observe(took);
        match outcome {
            Ok(()) => checked.results.good += 1,
            Err(_) => checked.results.bad += 1,
        }
        let health = &mut checked.health;
        let before = health.status();
        let now = health.report(outcome, clock::monotonic())?;
        checked.joins = false;
        let text = format!("{before} -> {now}: {}", health.why());
        info!("pool {}: backend {}: {text}", key.pool, key.end());
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
        let is_down = |key: &BackendKey| match self.backends.get(key) {
            Some(checked) => match checked.health.status() {
                Status::Down => true,
                Status::Unknown => checked.joins,
                Status::Up => false,
            },
            None => self.pools.contains(&key.pool),
        };
        let keys = questions(model).map(|(key, ..)| key);
        keys.filter(is_down).collect()
    }

    /// What is known of a backend; `None`: it is not checked.
    pub fn of(&self, key: &BackendKey) -> Option<&Health> {
        self.backends.get(key).map(|checked| &checked.health)
    }
}

/// Every backend that is to be checked, how, and where.
fn questions(model: &Model) -> impl Iterator<Item = (BackendKey, &HealthCheck, SocketAddr)> {
    let asked = |backend: &&model::Backend| backend.state != BackendState::Disabled;
    model.pools.iter().flat_map(move |pool| {
        let check = pool.health_check.as_ref();
        let check = check.and_then(|name| model.health_check(name));
        let backends = pool.backends.iter().filter(asked);
        backends.filter_map(move |backend| {
            let to = SocketAddr::new(backend.address, backend.check_port?.get());
            Some((BackendKey::new(&pool.name, backend), check?, to))
        })
    })
}

fn watch(key: &BackendKey, question: &Question, results: &mpsc::Sender<Result>) -> Task {
    let identity = format!("{} {}", key.pool, question.to);
    let schedule = Schedule::new(question.interval, &identity, clock::monotonic());
    let task = ask(key.clone(), question.clone(), schedule, results.clone());
    Task(tokio::spawn(task))
}

async fn ask(
    key: BackendKey,
    question: Question,
    mut schedule: Schedule,
    results: mpsc::Sender<Result>,
) {
    loop {
        tokio::time::sleep(schedule.next().saturating_sub(clock::monotonic())).await;
        let begun = clock::monotonic();
        schedule.advance(begun);
        let outcome = health::probe(&question.probe, question.to, question.timeout)
            .await
            .map_err(|error| error.to_string());
        let took = clock::monotonic().saturating_sub(begun);
        if results.send((key.clone(), outcome, took)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn model(backends: &str, interval: &str) -> Model {
        let text = format!(
            "version = 1\n\
             interface = [{{ name = \"a\", device = \"eth0\", address = \"10.0.2.1/24\" }}]\n\
             virtual_server = [{{ name = \"v\", address = \"203.0.113.10\", port = 80, mode = \"dnat\", pool = \"p\" }}]\n\
             health_check = [{{ name = \"h\", type = \"tcp\", interval = \"{interval}\", fall = 1 }}]\n\
             pool = [{{ name = \"p\", health_check = \"h\", backend = [{backends}] }}]\n"
        );
        let config = config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors}"));
        config.for_node(None).expect("a model")
    }

    const TOOK: Duration = Duration::from_millis(3);
    const ONE: &str = "{ address = \"10.0.2.11\" }";
    const TWO: &str = "{ address = \"10.0.2.11\" }, { address = \"10.0.2.12\" }";

    fn key(last: u8) -> BackendKey {
        BackendKey {
            pool: "p".to_owned(),
            address: [10, 0, 2, last].into(),
            port: 0,
        }
    }

    #[tokio::test]
    async fn what_stays_is_not_forgotten_and_what_joins_has_to_answer() {
        let old = model(ONE, "1h");
        let mut checks = Checks::start(&old);
        assert!(checks.down(&old).is_empty(), "all count as up at the start");
        assert!(
            checks
                .report((key(11), Err("refused".into()), TOOK))
                .is_some()
        );
        assert_eq!(checks.down(&old), BTreeSet::from([key(11)]));

        let new = model(TWO, "30m");
        let both = BTreeSet::from([key(11), key(12)]);
        assert_eq!(checks.down(&new), both, "as it will be");
        checks.extend(&new);
        checks.retain(&new);
        assert_eq!(checks.down(&new), both);
        assert_eq!(checks.of(&key(11)).expect("checked").why(), "refused");
        let (about, text) = checks.report((key(12), Ok(()), TOOK)).expect("a change");
        assert_eq!(
            (about, text.as_str()),
            (key(12), "checking -> up: answered")
        );
        assert_eq!(checks.down(&new), BTreeSet::from([key(11)]));

        checks.retain(&model(ONE, "30m"));
        assert!(checks.of(&key(12)).is_none());
        assert!(
            checks.report((key(12), Ok(()), TOOK)).is_none(),
            "a late result"
        );
    }
}
