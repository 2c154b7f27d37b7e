//! Whether a gateway answers: a node that reaches one may be active without its peer.

use std::net::IpAddr;
use std::time::Duration;

use log::{info, warn};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Request, Requests};
use crate::core::pair::partition::Permission;
use crate::io::clock;
use crate::io::health::icmp;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(200);
/// So long an answer may take.
const PATIENCE: Duration = Duration::from_millis(400);
/// So long a gateway counts as reached after a question that it answered.
const LASTS: Duration = Duration::from_millis(700);

/// Asks one gateway for as long as the daemon runs.
pub async fn watch(gateway: IpAddr, requests: Requests) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = None;
    loop {
        turn.tick().await;
        let asked = clock::monotonic();
        let answered = matches!(timeout(PATIENCE, icmp::ask(gateway)).await, Ok(Ok(())));
        if answered {
            let until = asked + LASTS;
            requests.send(Request::Allow(Permission { wish: None, until }));
        }
        if reached.replace(answered) != Some(answered) {
            match answered {
                true => info!("gateway {gateway} answers"),
                false => warn!("gateway {gateway} does not answer"),
            }
        }
    }
}
