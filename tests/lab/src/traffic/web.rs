//! Requests on old and on new connections.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{LIMIT, Part};
use crate::client::http::{self, Connection};

/// Connections that are kept open to each virtual server.
const CONNECTIONS: usize = 12;
const NEW_EVERY: Duration = Duration::from_millis(2);
const OLD_EVERY: Duration = Duration::from_millis(10);

/// One short connection after the other.
pub(super) fn new_connections(server: SocketAddr, part: &Part) -> Result<()> {
    loop {
        let begin = Instant::now();
        let answer = http::get(server, "/", LIMIT);
        {
            let mut tally = part.tally();
            tally.connections += 1;
            tally.requests += 1;
            tally.broken += u64::from(answer.is_err());
        }
        if let Err(error) = answer {
            let after = begin.elapsed();
            eprintln!("{server}: new connection, after {after:?}: {error:#}");
        }
        if !part.turn() {
            return Ok(());
        }
        thread::sleep(NEW_EVERY);
    }
}

/// Requests on connections that stay open, each of which its first backend has to answer.
pub(super) fn old_connections(server: SocketAddr, part: &Part) -> Result<()> {
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(server, LIMIT)?;
        let backend = connection.get("/")?.backend;
        open.push((connection, backend));
    }
    part.tally().connections += CONNECTIONS as u64;
    loop {
        open.retain_mut(|(connection, backend)| {
            let answer = connection.get("/");
            let kept = answer
                .as_ref()
                .is_ok_and(|answer| answer.backend == *backend);
            if !kept {
                eprintln!("{server}: old connection at {backend}: {answer:?}");
            }
            let mut tally = part.tally();
            tally.requests += 1;
            tally.broken += u64::from(!kept);
            kept
        });
        if !part.turn() {
            return Ok(());
        }
        thread::sleep(OLD_EVERY);
    }
}
