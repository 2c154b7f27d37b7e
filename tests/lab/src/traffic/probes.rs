//! Numbered datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Part;
use crate::client::udp;
use crate::server::STAMP;
use crate::wait::wait_until;

/// Sockets that every other datagram goes out of, in turn: old flows, in many slots.
const OLD: usize = 16;
/// Datagrams of a new flow; the others go out of the newest.
const NEW: u64 = 8;
/// New flows that are listened to still, at least: an answer may come twice.
const RECENT: usize = 16;
/// Between two datagrams, at least: nothing is caught up with.
const EVERY: Duration = Duration::from_millis(1);
/// Datagrams of one virtual server that wait for their answers, at most: a veth's ring takes 256.
pub(super) const WINDOW: usize = 32;
/// A datagram that has waited for so long leaves the window; its answer still counts.
const SLOW: Duration = Duration::from_secs(10);
/// For the last answers.
const LAST: Duration = Duration::from_secs(20);

/// Sends until it is over.
pub(super) fn run(server: SocketAddr, part: &Part) -> Result<()> {
    let mut probes = Probes::open(server).context("open sockets")?;
    loop {
        probes.collect(part);
        if probes.has_room() {
            probes.send().context("send")?;
            *part.tally().datagrams.entry(server).or_default() += 1;
            if !part.turn() {
                break;
            }
        }
        thread::sleep(EVERY);
    }
    let _ = wait_until("the last answers", LAST, || {
        probes.collect(part);
        probes.waiting.is_empty()
    });
    if !probes.waiting.is_empty() {
        let numbers: Vec<_> = probes.waiting.keys().collect();
        eprintln!(
            "{server}: of {} datagrams these were lost: {numbers:?}",
            probes.sent
        );
    }
    let mut tally = part.tally();
    tally.lost = probes.waiting.len() as u64;
    tally.lost_of_new = probes
        .waiting
        .keys()
        .filter(|number| !is_old(**number))
        .count() as u64;
    Ok(())
}

/// Whether a datagram goes out on an old flow.
fn is_old(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// A socket of the client: a flow.
struct Flow {
    socket: UdpSocket,
    /// The backend that answered first.
    backend: Option<String>,
    waiting: u64,
}

impl Flow {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let socket = udp::connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            backend: None,
            waiting: 0,
        })
    }

    fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        while let Err(error) = self.socket.send(payload) {
            // That an earlier one was refused: it stays without an answer.
            if error.kind() != io::ErrorKind::ConnectionRefused {
                return Err(error);
            }
        }
        self.waiting += 1;
        Ok(())
    }
}

struct Probes {
    server: SocketAddr,
    old: Vec<Flow>,
    new: VecDeque<Flow>,
    sent: u64,
    waiting: BTreeMap<u64, Instant>,
}

impl Probes {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let old = (0..OLD).map(|_| Flow::open(server));
        Ok(Self {
            server,
            old: old.collect::<io::Result<_>>()?,
            new: VecDeque::new(),
            sent: 0,
            waiting: BTreeMap::new(),
        })
    }

    fn has_room(&self) -> bool {
        let young = self.waiting.values().rev();
        young.take_while(|sent| sent.elapsed() < SLOW).count() < WINDOW
    }

    /// Sends the next one. The server writes its stamp over the first bytes; the number follows it.
    fn send(&mut self) -> io::Result<()> {
        let mut payload = [0; STAMP + 8];
        payload[STAMP..].copy_from_slice(&self.sent.to_be_bytes());
        let half = self.sent / 2;
        if is_old(self.sent) {
            let count = self.old.len();
            self.old[half as usize % count].send(&payload)?;
        } else {
            if half.is_multiple_of(NEW) || self.new.is_empty() {
                self.new.push_back(Flow::open(self.server)?);
                self.forget();
            }
            let newest = self.new.back_mut();
            newest.map_or(Ok(()), |flow| flow.send(&payload))?;
        }
        self.waiting.insert(self.sent, Instant::now());
        self.sent += 1;
        Ok(())
    }

    /// Closes flows that have all their answers.
    fn forget(&mut self) {
        while self.new.len() > RECENT && self.new.front().is_some_and(|flow| flow.waiting == 0) {
            self.new.pop_front();
        }
    }

    /// Takes the answers that are there.
    fn collect(&mut self, part: &Part) {
        let mut answer = [0; 2 * STAMP];
        for flow in self.old.iter_mut().chain(&mut self.new) {
            while let Ok(length) = flow.socket.recv(&mut answer) {
                let Some(Ok(number)) = answer[..length].get(STAMP..).map(TryInto::try_into) else {
                    continue;
                };
                if self.waiting.remove(&u64::from_be_bytes(number)).is_some() {
                    flow.waiting -= 1;
                } else {
                    part.tally().duplicated += 1;
                }
                let stamp = String::from_utf8_lossy(&answer[..STAMP]);
                let backend = stamp.split(' ').next().unwrap_or_default();
                let first = flow.backend.get_or_insert_with(|| backend.to_owned());
                if first != backend {
                    part.tally().moved += 1;
                }
            }
        }
    }
}
