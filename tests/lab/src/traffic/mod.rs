//! Traffic that goes on while something is done to the forwarder, and what became of each part of it.
//!
//! It loses nothing by itself: datagrams are numbered, and a virtual server has at most
//! [`probes::WINDOW`] of them unanswered, which every ring and socket buffer on the way has room for.

mod probes;
mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::namespace::Namespace;
use crate::wait::wait_until;

/// Nothing here takes that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(120);

/// What was sent and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams sent, by virtual server.
    pub datagrams: BTreeMap<SocketAddr, u64>,
    /// Datagrams without an answer.
    pub lost: u64,
    /// Those of them that were among the first few of their flow.
    pub lost_of_new: u64,
    /// Answers that came more than once.
    pub duplicated: u64,
    /// Datagrams answered by another backend than the first of their socket.
    pub moved: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests on them.
    pub requests: u64,
    /// Connections that were not answered, were reset, or changed their backend.
    pub broken: u64,
}

impl Tally {
    /// Datagrams and requests.
    pub fn sent(&self) -> u64 {
        self.datagrams.values().sum::<u64>() + self.requests
    }

    /// Whether nothing was lost and nothing broke.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.broken == 0
    }

    fn add(&mut self, other: &Self) {
        for (server, sent) in &other.datagrams {
            *self.datagrams.entry(*server).or_default() += sent;
        }
        self.lost += other.lost;
        self.lost_of_new += other.lost_of_new;
        self.duplicated += other.duplicated;
        self.moved += other.moved;
        self.connections += other.connections;
        self.requests += other.requests;
        self.broken += other.broken;
    }
}

/// One client thread's part.
#[derive(Default)]
struct Part {
    tally: Mutex<Tally>,
    /// Times around its loop: a connection that it opens is closed in the same one.
    turns: AtomicU64,
    over: AtomicBool,
}

impl Part {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a turn; whether there is to be another.
    fn turn(&self) -> bool {
        self.turns.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }
}

type Client = JoinHandle<Result<()>>;

/// Running traffic.
pub struct Traffic {
    clients: Vec<(Arc<Part>, Option<Client>)>,
}

impl Traffic {
    /// Starts asking virtual servers: of HTTP on connections that stay open and on new ones, of the UDP echo
    /// with numbered datagrams. Returns when all of it flows.
    ///
    /// # Errors
    /// When a virtual server does not answer.
    pub fn start(client: &Namespace, web: &[SocketAddr], echo: &[SocketAddr]) -> Result<Self> {
        let mut traffic = Self {
            clients: Vec::new(),
        };
        for &server in web {
            traffic.spawn(client, move |part| web::new_connections(server, part))?;
            traffic.spawn(client, move |part| web::old_connections(server, part))?;
        }
        for &server in echo {
            traffic.spawn(client, move |part| probes::run(server, part))?;
        }
        traffic.turn_over()?;
        Ok(traffic)
    }

    fn spawn(
        &mut self,
        client: &Namespace,
        work: impl FnOnce(&Part) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let part = Arc::new(Part::default());
        let thread = {
            let part = Arc::clone(&part);
            client.spawn(move || work(&part))?
        };
        self.clients.push((part, Some(thread)));
        Ok(())
    }

    /// What has become of it so far; what is lost shows at the end only.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (part, _) in &self.clients {
            tally.add(&part.tally());
        }
        tally
    }

    /// Waits until every short connection that is open now is over, and every other client has asked too.
    ///
    /// # Errors
    /// When that takes too long, or a client has ended.
    pub fn turn_over(&self) -> Result<()> {
        self.turns(2)
    }

    /// Waits for some turns of every client: a request on every open connection, a new connection, a datagram.
    ///
    /// # Errors
    /// When that takes too long, or a client has ended.
    pub fn turns(&self, count: u64) -> Result<()> {
        let turns = |part: &Part| part.turns.load(Ordering::Relaxed);
        let goals: Vec<_> = self
            .clients
            .iter()
            .map(|(part, _)| turns(part) + count)
            .collect();
        let mut ended = false;
        wait_until("all traffic flows", LIMIT, || {
            let mut clients = self.clients.iter();
            ended = clients.any(|(_, thread)| thread.as_ref().is_none_or(Client::is_finished));
            let clients = self.clients.iter().zip(&goals);
            ended
                || clients
                    .into_iter()
                    .all(|((part, _), goal)| turns(part) >= *goal)
        })
        .with_context(|| format!("{:?}", self.tally()))?;
        ensure!(!ended, "a client has ended: {:?}", self.tally());
        Ok(())
    }

    /// Ends it, waiting for the last answers.
    ///
    /// # Errors
    /// When a client could not go on.
    pub fn end(mut self) -> Result<Tally> {
        self.stop();
        for (_, thread) in &mut self.clients {
            if let Some(thread) = thread.take() {
                thread.join().map_err(|_| anyhow!("a client panicked"))??;
            }
        }
        Ok(self.tally())
    }

    fn stop(&self) {
        for (part, _) in &self.clients {
            part.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
        for (_, thread) in &mut self.clients {
            // An error is of no interest any more; the threads must be gone before their namespace.
            let _ = thread.take().map(Client::join);
        }
    }
}
