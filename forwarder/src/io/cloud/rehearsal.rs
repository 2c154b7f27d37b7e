//! Rehearsals of a takeover while another node has a group's things.

use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::group::dice;
use super::scout::Scout;
use super::{Board, Rehearsed};
use crate::config::model::Cloud;
use crate::core::cloud::plan;
use crate::core::cloud::rehearsal::Rehearsal;
use crate::core::cloud::work::Outcome;
use crate::io::sign::Watch;

/// Whoever becomes active may become standby at once: a look is not dear.
const LOOK: Duration = Duration::from_secs(1);

/// What it takes.
pub struct Rehearser<A> {
    pub name: String,
    pub watch: Watch,
    pub api: Arc<A>,
    pub scout: Arc<Scout<A>>,
    pub cloud: Cloud,
    pub board: Board,
}

impl<A: Api> Rehearser<A> {
    /// Goes on for ever.
    pub async fn run(self) {
        let about = format!("a takeover of group {}", self.name);
        let mut rehearsal = Rehearsal::default();
        loop {
            if self.watch.is_active() {
                // The calls themselves tell.
                rehearsal = Rehearsal::default();
                self.show(&about, &rehearsal);
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let found = self.scout.known().await;
            let planned = plan(&self.cloud, &self.name, &found.known);
            if let Some(call) = rehearsal.turn(&planned.calls, &found.holdings) {
                let outcome = self.api.rehearse(&call).await;
                rehearsal.ended(&call, &outcome);
                let mut shared = self.board.lock();
                let count = shared.rehearsed.entry(match outcome {
                    Outcome::Done => Rehearsed::Allowed,
                    Outcome::Refused(_) => Rehearsed::Refused,
                    Outcome::Again(_) | Outcome::Held(_) => Rehearsed::Unanswered,
                });
                *count.or_default() += 1;
            }
            self.show(&about, &rehearsal);
            let pause = rehearsal.pause(self.scout.refresh(), dice());
            tokio::time::sleep(pause).await;
        }
    }

    fn show(&self, about: &str, rehearsal: &Rehearsal) {
        let refused = rehearsal.refused();
        let texts: Vec<String> = refused
            .iter()
            .map(|(call, why)| format!("{call} would be refused: {why}"))
            .collect();
        let problem = (!texts.is_empty()).then(|| texts.join("; "));
        self.board.problem(about, problem);
        let mut shared = self.board.lock();
        shared.refused.insert(self.name.clone(), refused.len());
    }
}
