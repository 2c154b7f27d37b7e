//! Moving things of the cloud to the active node. A thread of its own: nobody waits for an API, and what it
//! needs to know is found out beforehand.

pub mod api;
mod archive;
pub mod bucket;
mod credentials;
pub mod environment;
mod group;
mod http;
pub mod inspect;
mod journal;
mod metadata;
pub mod query;
mod rehearsal;
mod scout;
mod signing;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use tokio::sync::{mpsc, oneshot};

use super::pair::Observer;
use super::sign::Sign;
use super::worker::Worker;
use crate::config::model::Cloud;
use crate::core::cloud::work::Outcome;
use crate::core::cloud::{Call, plan};
use api::{Api as _, Aws};
use archive::Archive;
use environment::Environment;
use group::Mover;
use journal::Journal;
use rehearsal::Rehearser;
use scout::Scout;

/// Between two attempts to get ready.
const AGAIN: Duration = Duration::from_secs(5);

/// What happened, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The group.
    pub group: String,
    /// What.
    pub text: String,
    /// Whether that is as it should be.
    pub good: bool,
}

/// What it takes.
pub struct Setup {
    /// What moves.
    pub cloud: Cloud,
    /// Groups: names and ids.
    pub groups: Vec<(String, u16)>,
    /// This node's name, for the journal.
    pub node: String,
    /// MAC addresses of interfaces, by their names in the file.
    pub macs: BTreeMap<String, String>,
    /// Where moves are written down.
    pub journal: PathBuf,
    /// Whether this node is active.
    pub sign: Sign,
    /// `None`: this node is on its own.
    pub observer: Option<Observer>,
    /// What happens.
    pub events: mpsc::UnboundedSender<Event>,
}

/// What the thread shows, and what it is told.
#[derive(Debug, Default)]
struct Shared {
    /// Epoch and cause of the latest change of role of each group.
    causes: BTreeMap<String, (u64, String)>,
    /// What does not work, by what it is about.
    problems: BTreeMap<String, String>,
    /// Calls that were made, by action and result.
    calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Rehearsals of calls, and how many calls each group's takeover would not be granted.
    rehearsed: BTreeMap<Rehearsed, u64>,
    refused: BTreeMap<String, usize>,
}

/// How a rehearsal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rehearsed {
    /// The call would be granted.
    Allowed,
    /// It would not.
    Refused,
    /// That is not known.
    Unanswered,
}

impl Rehearsed {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Refused, Self::Unanswered];

    /// As programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Rehearsed::Allowed => "allowed",
            Rehearsed::Refused => "refused",
            Rehearsed::Unanswered => "unanswered",
        }
    }
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls that were made, by action and result: `done`, `again` or `refused`.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Rehearsals.
    pub rehearsed: BTreeMap<Rehearsed, u64>,
    /// By group, how many calls of a takeover would be refused.
    pub refused: BTreeMap<String, usize>,
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    _worker: Worker,
    shared: Board,
    rehearsals: mpsc::UnboundedSender<Rehearsal>,
}

/// Which groups, or every one; and where the answer goes.
type Rehearsal = (Option<String>, oneshot::Sender<Vec<String>>);

/// What several tasks see.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<Shared>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has ended.
    fn count(&self, action: &'static str, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Done => "done",
            Outcome::Again(_) | Outcome::Held(_) => "again",
            Outcome::Refused(_) => "refused",
        };
        *self.lock().calls.entry((action, result)).or_default() += 1;
    }

    /// Notes that something does not work, or that it does again.
    fn problem(&self, about: &str, problem: Option<String>) {
        let mut shared = self.lock();
        match problem {
            Some(problem) => drop(shared.problems.insert(about.to_owned(), problem)),
            None => drop(shared.problems.remove(about)),
        }
    }
}

impl Handle {
    /// Starts the thread.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let worker = Worker::start("cloud")?;
        let shared = Board::default();
        let (rehearsals, asked) = mpsc::unbounded_channel();
        let board = shared.clone();
        worker.handle().spawn(run(setup, board, asked));
        Ok(Self {
            _worker: worker,
            shared,
            rehearsals,
        })
    }

    /// A group's role has changed.
    pub fn role(&self, group: &str, epoch: u64, cause: &str) {
        let told = (epoch, cause.to_owned());
        self.shared.lock().causes.insert(group.to_owned(), told);
    }

    /// What does not work.
    pub fn problems(&self) -> Vec<String> {
        let shared = self.shared.lock();
        let problems = shared.problems.iter();
        problems
            .map(|(about, problem)| format!("cloud: {about}: {problem}"))
            .collect()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let shared = self.shared.lock();
        Counts {
            calls: shared.calls.clone(),
            rehearsed: shared.rehearsed.clone(),
            refused: shared.refused.clone(),
        }
    }

    /// What would be called if this node became active for a group, or for every one, and whether each call
    /// would be allowed.
    pub fn rehearse(&self, group: Option<String>) -> oneshot::Receiver<Vec<String>> {
        let (reply, answer) = oneshot::channel();
        // A thread that is gone gives no answer, which is an answer.
        let _ = self.rehearsals.send((group, reply));
        answer
    }
}

async fn run(setup: Setup, board: Board, asked: mpsc::UnboundedReceiver<Rehearsal>) {
    const ABOUT: &str = "start";
    let api = loop {
        match Aws::new(
            setup.cloud.clone(),
            setup.macs.clone(),
            Environment::of_process(),
        )
        .await
        {
            Ok(api) => break Arc::new(api),
            Err(error) => {
                warn!("cloud: {error}");
                board.problem(ABOUT, Some(error));
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    board.problem(ABOUT, None);
    let scout = Arc::new(Scout::new(Arc::clone(&api), setup.cloud.refresh, &board));
    let archive = match api.bucket() {
        Ok(bucket) => bucket.map(|bucket| Archive::start(bucket, board.clone())),
        Err(error) => {
            warn!("cloud: no copies of the journal: {error}");
            board.problem("the journal's copy in the bucket", Some(error));
            None
        }
    };
    let journal = Journal::start(setup.journal, setup.node, archive);
    let observer = Arc::new(setup.observer);
    let names: Vec<String> = setup.groups.iter().map(|(name, _)| name.clone()).collect();
    for (name, id) in setup.groups {
        // A node on its own is always active, and has no groups.
        let group = observer.is_some().then_some(name.as_str());
        let watch = setup.sign.watch(group);
        let rehearser = Rehearser {
            name: name.clone(),
            watch: watch.clone(),
            api: Arc::clone(&api),
            scout: Arc::clone(&scout),
            cloud: setup.cloud.clone(),
            board: board.clone(),
        };
        tokio::spawn(rehearser.run());
        let mover = Mover {
            watch,
            api: Arc::clone(&api),
            scout: Arc::clone(&scout),
            cloud: setup.cloud.clone(),
            journal: journal.clone(),
            observer: Arc::clone(&observer),
            events: setup.events.clone(),
            board: board.clone(),
            name,
            id,
        };
        tokio::spawn(mover.run());
    }
    tokio::spawn(rehearse(asked, api, Arc::clone(&scout), setup.cloud, names));
    scout.run().await;
}

/// Answers what would be called.
async fn rehearse(
    mut asked: mpsc::UnboundedReceiver<Rehearsal>,
    api: Arc<Aws>,
    scout: Arc<Scout<Aws>>,
    cloud: Cloud,
    groups: Vec<String>,
) {
    while let Some((only, reply)) = asked.recv().await {
        let mut lines = Vec::new();
        match scout.look().await {
            Err(error) => lines.push(format!("cloud: not known where things are: {error}")),
            Ok(found) => {
                let meant = |name: &&String| only.as_ref().is_none_or(|only| only == *name);
                for group in groups.iter().filter(meant) {
                    let planned = plan(&cloud, group, &found.known);
                    let before = |call: &Call| call.before(&found.holdings, false);
                    let calls = planned.calls.into_iter();
                    let calls = calls.flat_map(|call| before(&call).into_iter().chain([call]));
                    for call in calls {
                        let allowed = match api.rehearse(&call).await {
                            Outcome::Done => "allowed".to_owned(),
                            Outcome::Refused(why) => format!("NOT ALLOWED: {why}"),
                            Outcome::Again(why) => format!("NOT KNOWN: {why}"),
                            Outcome::Held(at) => format!("NOT KNOWN: {} has it", at.instance),
                        };
                        let from: Vec<_> = call.holders(&found.holdings).into_iter().collect();
                        let from = match from.is_empty() {
                            true => "nobody".to_owned(),
                            false => from.join(", "),
                        };
                        lines.push(format!(
                            "cloud, group {group}: {call}, now at {from}: {allowed}"
                        ));
                    }
                    let missing = planned.missing.into_iter();
                    lines.extend(
                        missing.map(|what| format!("cloud, group {group}: NOT FOUND: {what}")),
                    );
                }
            }
        }
        // An asker that went away needs no answer.
        let _ = reply.send(lines);
    }
}
