//! A group of virtual servers in the cloud: taken when this node becomes active, and looked after while it is.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::api::{Api, Found};
use super::journal::{CallEntry, Entry, Journal};
use super::scout::Scout;
use super::{Board, Event};
use crate::config::model::Cloud;
use crate::core::cloud::owner::{Look, Owner, Verdict};
use crate::core::cloud::work::{Job, Outcome, Try, Work};
use crate::core::cloud::{Call, Place, Planned, anchor, lacking, plan};
use crate::io::clock;
use crate::io::pair::Observer;
use crate::io::sign::Watch;

/// Between two looks when it is not certain where things are.
const SOON: Duration = Duration::from_secs(1);
/// So long things may take to be seen where they were moved to.
const CONFIRM: Duration = Duration::from_secs(10);

/// What it takes.
pub struct Mover<A> {
    pub name: String,
    pub id: u16,
    pub watch: Watch,
    pub api: Arc<A>,
    pub scout: Arc<Scout<A>>,
    pub cloud: Cloud,
    pub journal: Journal,
    pub observer: Arc<Option<Observer>>,
    pub events: UnboundedSender<Event>,
    pub board: Board,
}

impl<A: Api> Mover<A> {
    /// Goes on for ever.
    pub async fn run(mut self) {
        loop {
            self.watch.until(true).await;
            let mut ends = self.watch.clone();
            let yielded = tokio::select! {
                () = self.active() => true,
                () = ends.until(false) => false,
            };
            self.board.problem(&self.about(), None);
            if yielded {
                self.overtaken().await;
            }
        }
    }

    fn about(&self) -> String {
        format!("group {}", self.name)
    }

    /// Takes everything, and keeps it; until another node has it.
    async fn active(&self) {
        let since = clock::monotonic();
        let found = self.scout.known().await;
        let planned = plan(&self.cloud, &self.name, &found.known);
        if planned.calls.is_empty() && planned.missing.is_empty() {
            return std::future::pending().await;
        }
        self.take(planned, found, None).await;
        let mut owner = Owner::new(since, clock::monotonic());
        loop {
            let pause = match owner.is_uncertain(clock::monotonic()) {
                true => SOON,
                false => self.scout.refresh(),
            };
            tokio::time::sleep(pause).await;
            let Ok(seen) = self.scout.see().await else {
                continue;
            };
            let mut planned = plan(&self.cloud, &self.name, &seen.found.known);
            let holdings = &seen.found.holdings;
            let Some(anchor) = anchor(&planned.calls, holdings) else {
                continue;
            };
            let left = lacking(&planned.calls, holdings);
            let look = Look {
                complete: left.is_empty(),
                heard: (*self.observer).as_ref().is_some_and(Observer::hears),
                at: seen.at,
                anchor,
            };
            match owner.look(&look) {
                Verdict::Stay => {}
                Verdict::Take => {
                    planned.calls = left;
                    let cause = "not here any more".to_owned();
                    self.take(planned, seen.found, Some(cause)).await;
                    owner.took(clock::monotonic());
                }
                Verdict::Yield => {
                    if let Place::Elsewhere(holder) = look.anchor {
                        self.tell(false, format!("{holder} has it now: stepping aside"));
                    }
                    return;
                }
            }
        }
    }

    /// Tells the pair that another node has it, and waits until that is over.
    async fn overtaken(&mut self) {
        let Some(observer) = &*self.observer else {
            // A node of its own begins anew.
            return tokio::time::sleep(self.scout.refresh()).await;
        };
        observer.overtaken(self.id, true);
        loop {
            tokio::time::sleep(SOON).await;
            if !self.watch.is_active() && observer.hears() {
                return;
            }
            let Ok(seen) = self.scout.see().await else {
                continue;
            };
            let calls = plan(&self.cloud, &self.name, &seen.found.known).calls;
            if anchor(&calls, &seen.found.holdings) == Some(Place::Here) {
                observer.overtaken(self.id, false);
                return;
            }
            if self.watch.is_active() {
                // An operator wants it here, or the pair has not heard yet.
                return;
            }
        }
    }

    /// Makes all calls, and again with what is known by then where some were refused.
    async fn take(&self, planned: Planned, found: Arc<Found>, cause: Option<String>) {
        let jobs = self.work(&planned, &found, cause.clone()).await;
        if jobs.iter().all(|job| job.end.is_some_and(|(done, _)| done)) {
            return;
        }
        // What was known may not hold any more.
        let Ok(seen) = self.scout.see().await else {
            return;
        };
        let again = plan(&self.cloud, &self.name, &seen.found.known);
        let calls = lacking(&again.calls, &seen.found.holdings);
        if again.calls != planned.calls && !calls.is_empty() {
            let planned = Planned { calls, ..again };
            self.work(&planned, &seen.found, cause).await;
        }
    }

    /// Makes all calls, each until it is done or of no use, and waits until that is to be seen.
    async fn work(&self, planned: &Planned, found: &Arc<Found>, cause: Option<String>) -> Vec<Job> {
        let begin = clock::monotonic();
        let holdings = found.holdings.clone();
        let answers = || (*self.observer).as_ref().is_some_and(Observer::answers);
        let mut work = Work::new(planned.calls.clone(), holdings, answers(), begin);
        let mut tries = JoinSet::new();
        let mut written = false;
        while !work.is_over() {
            if !answers() {
                work.alone(clock::monotonic());
            }
            for each in work.start(clock::monotonic()) {
                let api = Arc::clone(&self.api);
                tries.spawn(async move {
                    let outcome = api.call(&each.call).await;
                    (each, outcome)
                });
            }
            if !written {
                // The calls are under way.
                self.write("begin", planned, found, cause.as_ref(), None);
                written = true;
            }
            let pause = work.next().map(|at| at.saturating_sub(clock::monotonic()));
            tokio::select! {
                Some(ended) = tries.join_next() => self.ended(&mut work, ended),
                () = tokio::time::sleep(pause.unwrap_or(CONFIRM)) => {}
            }
        }
        let took = clock::monotonic().saturating_sub(begin);
        let confirmed = self.confirm(&planned.calls, begin).await;
        let end = (work.jobs(), took, confirmed);
        self.write("end", planned, found, cause.as_ref(), Some(end));
        self.report(planned, work.jobs(), took, confirmed);
        work.jobs().to_vec()
    }

    fn ended(&self, work: &mut Work, ended: Result<(Try, Outcome), tokio::task::JoinError>) {
        let Ok((which, outcome)) = ended else { return };
        self.board.count(which.call.action(), &outcome);
        if let Outcome::Again(why) | Outcome::Refused(why) = &outcome {
            warn!("cloud, group {}: {}: {why}", self.name, which.call);
        }
        work.ended(&which, outcome, dice(), clock::monotonic());
    }

    /// Waits until everything is seen here: how long it took since the beginning.
    async fn confirm(&self, calls: &[Call], begin: Duration) -> Option<Duration> {
        let end = clock::monotonic() + CONFIRM;
        loop {
            if let Ok(seen) = self.scout.see().await
                && lacking(calls, &seen.found.holdings).is_empty()
            {
                return Some(clock::monotonic().saturating_sub(begin));
            }
            if clock::monotonic() >= end {
                return None;
            }
            tokio::time::sleep(SOON / 4).await;
        }
    }

    fn write(
        &self,
        event: &'static str,
        planned: &Planned,
        found: &Found,
        cause: Option<&String>,
        end: Option<(&[Job], Duration, Option<Duration>)>,
    ) {
        let (epoch, role) = {
            let shared = self.board.lock();
            shared.causes.get(&self.name).cloned().unwrap_or_default()
        };
        let calls = (0..).zip(&planned.calls).map(|(index, call): (usize, _)| {
            let job = end.and_then(|(jobs, ..)| jobs.get(index));
            CallEntry {
                action: call.action(),
                what: call.what(),
                from: call.holders(&found.holdings).into_iter().collect(),
                to: call.to().to_owned(),
                done: job.and_then(|job| job.end).map(|(done, _)| done),
                tries: job.map(|job| job.tries),
                milliseconds: job
                    .and_then(|job| job.end)
                    .map(|(_, took)| milliseconds(took)),
                trouble: job.and_then(|job| job.trouble.clone()),
            }
        });
        self.journal.write(&Entry {
            event,
            group: self.name.clone(),
            cause: cause.cloned().unwrap_or(role),
            epoch,
            calls: calls.collect(),
            milliseconds: end.map(|(_, took, _)| milliseconds(took)),
            confirmed_milliseconds: end.map(|(_, _, confirmed)| confirmed.map(milliseconds)),
            missing: planned.missing.clone(),
        });
    }

    fn report(&self, planned: &Planned, jobs: &[Job], took: Duration, confirmed: Option<Duration>) {
        let failed = jobs
            .iter()
            .filter(|job| job.end.is_none_or(|(done, _)| !done));
        let why = |job: &Job| job.trouble.clone().unwrap_or_default();
        let mut trouble: Vec<String> = failed
            .map(|job| format!("{}: {}", job.call, why(job)))
            .collect();
        let missing = planned.missing.iter();
        trouble.extend(missing.map(|what| format!("not found: {what}")));
        if confirmed.is_none() && trouble.is_empty() {
            trouble.push(format!("not to be seen here within {CONFIRM:?}"));
        }
        let calls = jobs.len();
        let took = milliseconds(took);
        let text = match trouble.is_empty() {
            true => format!("taken by {calls} calls in {took:.0} ms"),
            false => format!("not taken: {}", trouble.join("; ")),
        };
        self.tell(trouble.is_empty(), text);
        let problem = (!trouble.is_empty()).then(|| trouble.join("; "));
        self.board.problem(&self.about(), problem);
    }

    fn tell(&self, good: bool, text: String) {
        match good {
            true => info!("cloud, group {}: {text}", self.name),
            false => warn!("cloud, group {}: {text}", self.name),
        }
        let group = self.name.clone();
        // Without a listener the daemon is about to end.
        let _ = self.events.send(Event { group, text, good });
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// Any number: the clock's last digits are as good as random between nodes.
pub(super) fn dice() -> u32 {
    clock::monotonic().subsec_nanos() / 7
}
