//! One backend's checks, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::Question;
use crate::core::compile::BackendKey;
use crate::core::health::{Outcome, Schedule};
use crate::io::clock;
use crate::io::health::{Prober, Replies};

/// The end of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// Whose.
    pub key: BackendKey,
    /// How it ended.
    pub outcome: Outcome,
    /// So much after its time it began.
    pub late: Duration,
}

/// What the task of one backend needs.
pub struct Asking {
    pub key: BackendKey,
    pub question: Question,
    pub prober: Prober,
    pub replies: Replies,
    pub permits: Arc<Semaphore>,
    pub results: mpsc::Sender<Result>,
}

impl Asking {
    /// Asks until nobody wants to know any more.
    pub async fn run(self) {
        let Question {
            to,
            interval,
            timeout,
            ..
        } = self.question;
        let identity = format!("{} {to:?}", self.key.pool);
        let mut schedule = Schedule::new(interval, &identity, clock::monotonic());
        loop {
            // A check that takes longer than an interval leaves out those that fall into it.
            if schedule.next() < clock::monotonic() {
                schedule.advance(clock::monotonic());
            }
            let due = schedule.next();
            tokio::time::sleep(due.saturating_sub(clock::monotonic())).await;
            let Ok(permit) = self.permits.acquire().await else {
                return;
            };
            let begin = clock::monotonic();
            schedule.advance(begin);
            let result = self.prober.ask(&to, timeout, &self.replies).await;
            drop(permit);
            let result = Result {
                key: self.key.clone(),
                outcome: Outcome {
                    result: result.map_err(Into::into),
                    took: clock::monotonic().saturating_sub(begin),
                },
                late: begin.saturating_sub(due),
            };
            if self.results.send(result).await.is_err() {
                return;
            }
        }
    }
}
