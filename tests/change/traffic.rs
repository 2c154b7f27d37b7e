//! Requests and probes that go on while something changes, and what became of each.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forwarder_lab::client::http::{self, Connection};
use forwarder_lab::{Namespace, wait_until};

use super::world::LIMIT;

/// Sockets that probes of one virtual server are spread over, so that they meet many slots.
const SOCKETS: usize = 32;
/// Connections that are kept open to each virtual server.
const CONNECTIONS: usize = 12;
/// Between two probes of one virtual server.
const EVERY: Duration = Duration::from_millis(1);
/// The server writes over the first bytes.
const NUMBER_AT: usize = 64;

/// What was sent and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes and requests.
    pub sent: u64,
    /// Probes without an answer.
    pub lost: u64,
    /// Requests on new connections that failed, and old connections that broke.
    pub broken: u64,
}

/// Asks virtual servers of HTTP and echo while `work` goes on.
///
/// # Errors
/// What `work` returns, and when there was no traffic to speak of.
pub fn during(
    client: &Namespace,
    web: &[SocketAddr],
    echo: &[SocketAddr],
    work: impl FnOnce() -> Result<()> + Send,
) -> Result<Tally> {
    let over = AtomicBool::new(false);
    let started = AtomicU64::new(0);
    let parts = web.len() * 2 + echo.len();
    thread::scope(|scope| {
        let (over, started) = (&over, &started);
        let mut threads = Vec::new();
        for &server in web {
            threads
                .push(scope.spawn(move || client.run(|| new_connections(server, over, started))));
            threads
                .push(scope.spawn(move || client.run(|| old_connections(server, over, started))));
        }
        for &server in echo {
            threads.push(scope.spawn(move || client.run(|| probes(server, over, started))));
        }
        let worked = wait_until("all traffic flows", LIMIT, || {
            started.load(Ordering::Relaxed) >= parts as u64
        })
        .and_then(|()| work());
        over.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for thread in threads {
            let part = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            let part = part?;
            ensure!(part.sent > 20, "hardly any traffic: {part:?}");
            tally.sent += part.sent;
            tally.lost += part.lost;
            tally.broken += part.broken;
        }
        worked.map(|()| tally)
    })
}

fn is_over(over: &AtomicBool) -> bool {
    over.load(Ordering::Relaxed)
}

fn new_connections(server: SocketAddr, over: &AtomicBool, started: &AtomicU64) -> Result<Tally> {
    let mut tally = Tally::default();
    while !is_over(over) {
        tally.sent += 1;
        let begin = Instant::now();
        if let Err(error) = http::get(server, "/", LIMIT) {
            let after = begin.elapsed();
            eprintln!("{server}: new connection, after {after:?}: {error:#}");
            tally.broken += 1;
        }
        if tally.sent == 1 {
            started.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(tally)
}

fn old_connections(server: SocketAddr, over: &AtomicBool, started: &AtomicU64) -> Result<Tally> {
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(server, LIMIT)?;
        let backend = connection.get("/")?.backend;
        open.push((connection, backend));
    }
    started.fetch_add(1, Ordering::Relaxed);
    let mut tally = Tally::default();
    while !is_over(over) {
        open.retain_mut(|(connection, backend)| {
            tally.sent += 1;
            let kept = match connection.get("/") {
                Ok(answer) => answer.backend == *backend,
                Err(error) => {
                    eprintln!("{server}: old connection at {backend}: {error:#}");
                    false
                }
            };
            tally.broken += u64::from(!kept);
            kept
        });
        thread::sleep(Duration::from_millis(10));
    }
    Ok(tally)
}

fn probes(server: SocketAddr, over: &AtomicBool, started: &AtomicU64) -> Result<Tally> {
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|_| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<Result<_>>()
        .context("open sockets")?;
    let mut waiting = BTreeSet::new();
    let begin = Instant::now();
    let mut sent: u64 = 0;
    while !is_over(over) {
        let due = begin + EVERY * u32::try_from(sent)?;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let mut payload = [0; NUMBER_AT + 8];
        payload[NUMBER_AT..].copy_from_slice(&sent.to_be_bytes());
        sockets[sent as usize % SOCKETS]
            .send(&payload)
            .context("send")?;
        waiting.insert(sent);
        sent += 1;
        collect(&sockets, &mut waiting);
        if sent == 100 {
            started.fetch_add(1, Ordering::Relaxed);
        }
    }
    // The answers that are still under way.
    let _ = wait_until("the last answers", Duration::from_secs(5), || {
        collect(&sockets, &mut waiting);
        waiting.is_empty()
    });
    if !waiting.is_empty() {
        eprintln!("{server}: of {sent} probes these were lost: {waiting:?}");
    }
    Ok(Tally {
        sent,
        lost: waiting.len() as u64,
        broken: 0,
    })
}

fn collect(sockets: &[UdpSocket], waiting: &mut BTreeSet<u64>) {
    let mut answer = [0; 2 * NUMBER_AT];
    for socket in sockets {
        while let Ok(length) = socket.recv(&mut answer) {
            if let Some(Ok(number)) = answer[..length].get(NUMBER_AT..).map(TryInto::try_into) {
                waiting.remove(&u64::from_be_bytes(number));
            }
        }
    }
}
