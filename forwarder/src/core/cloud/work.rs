//! Calls under way: all at once, each until it is done or of no use.
//!
//! A try that takes long is left to go on while the next one begins: whichever is answered first counts.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Attachment, Call, Holdings};

/// After the first failure the next try waits for half of this or more, then for twice as long each time.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// A try that has not been answered for so long gets company.
const SLOW: Duration = Duration::from_secs(2);
/// Tries under way at once.
const AT_ONCE: u32 = 3;
/// A try ends after this time.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// After this time nothing is tried again; whoever is active looks on, and begins anew.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// So long an instance may take to let go of a network interface in peace, if it does not answer by then.
pub const PEACE: Duration = Duration::from_secs(5);

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It may go well another time: too many calls, an error of the server, no answer, credentials that have
    /// expired.
    Again(String),
    /// It can't go well.
    Refused(String),
    /// Another instance has the network interface, or it is not off there yet.
    Held(Attachment),
}

/// A thing that is being moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What moves it.
    pub call: Call,
    /// What has to be called before it.
    before: VecDeque<Call>,
    /// What network interface was detached last, and since when that is under way.
    detached: Option<(Call, Duration)>,
    /// How often something was tried.
    pub tries: u32,
    /// Why the last try failed.
    pub trouble: Option<String>,
    /// How it ended, and how long it took.
    pub end: Option<(bool, Duration)>,
    running: u32,
    failures: u32,
    /// When it is tried next.
    at: Duration,
    /// Tries of an earlier call don't count.
    step: u32,
}

/// A try to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// Which job.
    pub job: usize,
    /// Which of its calls.
    pub step: u32,
    /// The call.
    pub call: Call,
}

/// Calls under way.
#[derive(Clone, Debug)]
pub struct Work {
    jobs: Vec<Job>,
    began: Duration,
    holdings: Holdings,
    /// Whether the peer answers.
    answers: bool,
}

impl Work {
    /// Begins. `holdings`: where things were when it was last looked; `answers`: whether the peer does.
    pub fn new(calls: Vec<Call>, holdings: Holdings, answers: bool, now: Duration) -> Self {
        let jobs = calls.into_iter().map(|call| Job {
            before: call.before(&holdings, answers).into_iter().collect(),
            detached: None,
            call,
            tries: 0,
            trouble: None,
            end: None,
            running: 0,
            failures: 0,
            at: now,
            step: 0,
        });
        Self {
            jobs: jobs.collect(),
            began: now,
            holdings,
            answers,
        }
    }

    /// What is to be tried now.
    pub fn start(&mut self, now: Duration) -> Vec<Try> {
        let mut tries = Vec::new();
        for (index, job) in self.jobs.iter_mut().enumerate() {
            if job.end.is_none() && now >= job.at && job.running < AT_ONCE {
                job.tries += 1;
                job.running += 1;
                job.at = now + SLOW * job.running;
                tries.push(Try {
                    job: index,
                    step: job.step,
                    call: job.before.front().unwrap_or(&job.call).clone(),
                });
            }
        }
        tries
    }

    /// A try has ended. `dice`: at random.
    pub fn ended(&mut self, which: &Try, outcome: Outcome, dice: u32, now: Duration) {
        let (began, holdings, answers) = (self.began, &self.holdings, self.answers);
        let Some(job) = self.jobs.get_mut(which.job) else {
            return;
        };
        if job.end.is_some() || job.step != which.step {
            return;
        }
        job.running = job.running.saturating_sub(1);
        match outcome {
            Outcome::Done => match job.before.pop_front() {
                None => job.end = Some((true, now.saturating_sub(began))),
                Some(call) => {
                    job.detached = Some((call, now));
                    job.go_on(now);
                }
            },
            Outcome::Refused(why) => {
                let before = which.call.after_refusal(holdings);
                job.trouble = Some(why);
                if before.is_empty() || job.step > 0 {
                    job.end = Some((false, now.saturating_sub(began)));
                } else {
                    job.before = before.into();
                    job.go_on(now);
                }
            }
            Outcome::Held(at) if !job.has_detached(&at) => {
                job.before.extend(job.call.detach(&at, answers));
                job.go_on(now);
            }
            Outcome::Held(at) => job.again(format!("{} has it", at.instance), began, dice, now),
            Outcome::Again(why) => job.again(why, began, dice, now),
        }
    }

    /// The peer does not answer: nothing more is asked of it, and what it was asked for is not waited for long.
    pub fn alone(&mut self, now: Duration) {
        self.answers = false;
        for job in self.jobs.iter_mut().filter(|job| job.end.is_none()) {
            if let Some(asks) = job.before.front_mut().filter(|call| call.is_peaceful()) {
                *asks = asks.by_force();
                job.go_on(now);
            } else if let Some((asked, since)) = &job.detached
                && (asked.is_peaceful() && job.before.is_empty() && now >= *since + PEACE)
            {
                job.before.push_front(asked.by_force());
                job.go_on(now);
            }
        }
    }

    /// When to look again if no try ends before; `None`: never.
    pub fn next(&self) -> Option<Duration> {
        let jobs = self.jobs.iter();
        let waiting = jobs.filter(|job| job.end.is_none() && job.running < AT_ONCE);
        waiting.map(|job| job.at).min()
    }

    /// Whether every job has ended.
    pub fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| job.end.is_some())
    }

    /// The jobs.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }
}

impl Job {
    fn has_detached(&self, at: &Attachment) -> bool {
        let detached = self.detached.as_ref();
        detached.is_some_and(
            |(call, _)| matches!(call, Call::Detach { attachment, .. } if *attachment == at.id),
        )
    }

    fn again(&mut self, why: String, began: Duration, dice: u32, now: Duration) {
        self.trouble = Some(why);
        self.at = now + pause(self.failures, dice);
        self.failures += 1;
        if self.running == 0 && self.at > began + PATIENCE {
            self.end = Some((false, now.saturating_sub(began)));
        }
    }

    fn go_on(&mut self, now: Duration) {
        self.step += 1;
        self.running = 0;
        self.at = now;
    }
}

/// The pause after so many failures: half of it and a random part of the other half.
fn pause(failures: u32, dice: u32) -> Duration {
    let whole = FIRST * 2_u32.pow(failures.min(10));
    let half = whole.min(LONGEST) / 2;
    half + half * (dice % 1_000) / 1_000
}
