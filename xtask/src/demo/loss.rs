//! A backend dies under load.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use forwarder_lab::Site;
use serde::Serialize;

use super::case::Protocol;

/// Index of the backend that dies.
pub const VICTIM: usize = 1;
/// A request is begun this often, whatever became of the others.
const PACE: Duration = Duration::from_millis(5);
/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_millis(500);
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(4);

/// One request under load; times are since the load began.
#[derive(Clone, Debug)]
pub struct Request {
    pub begun: Duration,
    /// The server that answered.
    pub answered_by: Option<String>,
}

/// What the death cost, as it is in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    pub failed_requests: usize,
    /// From the death to the beginning of the last request that failed.
    pub recovered_ms: u64,
}

/// Sends requests steadily, cuts the victim's cable meanwhile, and tells when that was.
pub fn run(site: &Site, server: SocketAddr) -> Result<(Vec<Request>, Duration)> {
    let start = Instant::now();
    let (send, receive) = mpsc::channel();
    let load = site.client.spawn(move || {
        while start.elapsed() < BEFORE + AFTER {
            let send = send.clone();
            // A request that gets no thread is not counted as one: nothing was sent.
            let _ = thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn(move || {
                    let begun = start.elapsed();
                    let answer = Protocol::Tcp.request(server, PATIENCE).ok();
                    let _ = send.send(Request {
                        begun,
                        answered_by: answer.map(|answer| answer.backend),
                    });
                });
            thread::sleep(PACE);
        }
    })?;
    thread::sleep(BEFORE);
    let death = start.elapsed();
    site.connect(VICTIM, false)?;
    // The channel closes when the load has ended and its last request has come back.
    let mut requests: Vec<_> = receive.iter().collect();
    drop(load);
    requests.sort_by_key(|request| request.begun);
    Ok((requests, death))
}

impl Loss {
    /// What the requests say about a death at this time.
    pub fn new(requests: &[Request], death: Duration) -> Self {
        let failed = || {
            requests
                .iter()
                .filter(|request| request.answered_by.is_none())
        };
        let last = failed().map(|request| request.begun).max().unwrap_or(death);
        Self {
            failed_requests: failed().count(),
            recovered_ms: last.saturating_sub(death).as_millis() as u64,
        }
    }

    /// Whether traffic moved: for the last half of the time nothing failed.
    pub fn recovered(&self) -> bool {
        self.recovered_ms < AFTER.as_millis() as u64 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_ends_with_the_last_failure() {
        let request = |ms, ok: bool| Request {
            begun: Duration::from_millis(ms),
            answered_by: ok.then(|| "b1".to_owned()),
        };
        let requests = [
            request(900, false),
            request(1100, true),
            request(1400, false),
            request(1500, true),
        ];
        let loss = Loss::new(&requests, Duration::from_millis(1000));
        assert_eq!(
            loss,
            Loss {
                failed_requests: 2,
                recovered_ms: 400
            }
        );
        assert!(loss.recovered());
        let fine = Loss::new(&requests[1..2], Duration::from_millis(1000));
        assert_eq!(
            fine,
            Loss {
                failed_requests: 0,
                recovered_ms: 0
            }
        );
        assert!(!Loss::new(&[request(4900, false)], Duration::from_millis(1000)).recovered());
    }
}
