//! Which nodes are healthy: asked again and again, each at its own address.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::Shared;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// Whether a connection is accepted.
    Tcp,
    /// Whether a GET for this path is answered with 200, and nothing else.
    Http(&'static str),
}

/// How nodes are asked.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// At which port.
    pub port: u16,
    /// What.
    pub asked: Asked,
    /// How often.
    pub interval: Duration,
    /// After so many answers of one kind in a row that is what counts.
    pub threshold: u32,
}

/// What the answers so far say of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    pub up: bool,
    /// Answers in a row that say something else.
    against: u32,
}

impl Health {
    fn note(&mut self, yes: bool, threshold: u32) {
        self.against = if yes == self.up { 0 } else { self.against + 1 };
        if self.against >= threshold {
            *self = Self {
                up: yes,
                against: 0,
            };
        }
    }
}

/// A real one waits longer; nobody here takes that long unless stopped.
const PATIENCE: Duration = Duration::from_secs(2);

impl Probe {
    pub(super) fn run(&self, nodes: &[Ipv4Addr], shared: &Shared) {
        while !shared.stopped() {
            let begin = Instant::now();
            for (node, address) in nodes.iter().enumerate() {
                let yes = self.ask(SocketAddr::new((*address).into(), self.port));
                let mut state = shared.lock();
                state.answers.push((node, yes));
                state.health[node].note(yes, self.threshold);
            }
            thread::sleep(self.interval.saturating_sub(begin.elapsed()));
        }
    }

    fn ask(&self, at: SocketAddr) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(&at, PATIENCE) else {
            return false;
        };
        let Asked::Http(path) = self.asked else {
            return true;
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let asked = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.write_all(request.as_bytes()))
            .and_then(|()| stream.read_to_end(&mut answer));
        asked.is_ok() && answer.starts_with(b"HTTP/1.1 200 ")
    }
}
