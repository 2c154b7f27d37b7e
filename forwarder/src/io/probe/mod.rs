//! Ports that tell a load balancer in front whether this node is active. A thread of its own: neither the
//! daemon's main loop nor the pair's thread waits for whoever asks, and a port closes the moment the
//! lease ends.

mod http;
mod listener;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock;
use super::sign::{Sign, Watch};
use crate::config::model::{ProbeAnswer, ProbePort};

/// Between two tries to get a port.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it can be connected to.
    pub open: bool,
    /// Why it cannot, though it ought to be.
    pub error: Option<String>,
    /// Probes that were told yes, and no.
    pub told: [u64; 2],
    /// When the last probe came, by the wall clock, and where from.
    pub last: Option<(Duration, IpAddr)>,
}

/// What the ports have seen.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<BTreeMap<u16, Seen>>>);

impl Board {
    fn with<T>(&self, port: u16, act: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(seen.entry(port).or_default())
    }

    fn opened(&self, port: u16, result: &io::Result<()>) {
        self.with(port, |seen| {
            let error = result.as_ref().err().map(ToString::to_string);
            if let Some(error) = &error
                && seen.error.is_none()
            {
                warn!("probe port {port}: {error}");
            }
            seen.open = result.is_ok();
            seen.error = error;
        });
    }

    fn closed(&self, port: u16) {
        self.with(port, |seen| seen.open = false);
    }

    fn probed(&self, port: u16, active: bool, from: IpAddr) {
        self.with(port, |seen| {
            seen.told[usize::from(!active)] += 1;
            seen.last = Some((clock::wall(), from.to_canonical()));
        });
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Responder {
    ports: Option<watch::Sender<Vec<ProbePort>>>,
    board: Board,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts it. `filter`: what the kernel asks before it lets a connection in, so that a daemon that was
    /// stopped lets none in.
    pub fn start(ports: Vec<ProbePort>, sign: &Sign, filter: OwnedFd) -> io::Result<Self> {
        let board = Board::default();
        let (sender, receiver) = watch::channel(ports);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = serve(receiver, sign.clone(), Arc::new(filter), board.clone());
        let thread = thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || runtime.block_on(serving))?;
        Ok(Self {
            ports: Some(sender),
            board,
            thread: Some(thread),
        })
    }

    /// Other ports.
    pub fn set(&self, ports: &[ProbePort]) {
        if let Some(sender) = &self.ports {
            sender.send_if_modified(|known| {
                let changed = known != ports;
                if changed {
                    *known = ports.to_vec();
                }
                changed
            });
        }
    }

    /// What a port has seen.
    pub fn seen(&self, port: u16) -> Seen {
        self.board.with(port, |seen| seen.clone())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ports = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread of probe ports has failed");
        }
    }
}

/// Serves until there is nobody left to name the ports.
async fn serve(
    mut ports: watch::Receiver<Vec<ProbePort>>,
    sign: Sign,
    filter: Arc<OwnedFd>,
    board: Board,
) {
    loop {
        let mut tasks = JoinSet::new();
        for each in ports.borrow_and_update().clone() {
            let port = Port {
                number: each.port.get(),
                watch: sign.watch(each.group.as_deref()),
                filter: Arc::clone(&filter),
                board: board.clone(),
            };
            match each.answer {
                ProbeAnswer::Tcp { message } => tasks.spawn(tcp::serve(port, message.0.into())),
                ProbeAnswer::Http { path } => tasks.spawn(http::serve(port, path.into())),
            };
        }
        if ports.changed().await.is_err() {
            return;
        }
        tasks.shutdown().await;
    }
}

/// What a port's task works with.
#[derive(Clone, Debug)]
struct Port {
    number: u16,
    watch: Watch,
    filter: Arc<OwnedFd>,
    board: Board,
}
