//! Numbered datagrams at a steady pace, whatever becomes of them: when and for how long nobody answers.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::udp;
use crate::namespace::Namespace;
use crate::server::STAMP;

/// Between two datagrams to each server. What comes late because the machine is busy is not caught up with.
const EVERY: Duration = Duration::from_millis(1);
/// Flows to each server, in turn.
const FLOWS: usize = 8;
/// Bytes of a socket's buffer: enough for all that can be on its way.
static BUFFER: libc::c_int = 1 << 22;

/// What became of the datagrams of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outage {
    /// Sent.
    pub sent: u64,
    /// Without an answer.
    pub lost: u64,
    /// Answers that came more than once.
    pub duplicated: u64,
    /// The longest time in which none was answered that was sent then.
    pub gap: Duration,
}

impl Outage {
    /// All of them together; of several gaps the longest counts.
    pub fn of_all(parts: &[Self]) -> Self {
        parts.iter().fold(Self::default(), |total, part| Self {
            sent: total.sent + part.sent,
            lost: total.lost + part.lost,
            duplicated: total.duplicated + part.duplicated,
            gap: total.gap.max(part.gap),
        })
    }
}

/// Datagrams that go on until this is dropped.
pub struct Probes {
    lines: Arc<Mutex<Vec<Line>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The datagrams to one server.
#[derive(Default)]
struct Line {
    sent: Vec<Sent>,
}

struct Sent {
    at: Instant,
    answers: u32,
}

impl Probes {
    /// Asks these UDP echoes from now on.
    ///
    /// # Errors
    /// When the sockets can't be had.
    pub fn start(client: &Namespace, servers: &[SocketAddr]) -> Result<Self> {
        let lines: Vec<_> = servers.iter().map(|_| Line::default()).collect();
        let lines = Arc::new(Mutex::new(lines));
        let over = Arc::new(AtomicBool::new(false));
        let sockets = client.run(|| {
            let flows = |server: &SocketAddr| (0..FLOWS).map(|_| open(*server)).collect();
            let all: io::Result<Vec<Vec<_>>> = servers.iter().map(flows).collect();
            all.context("sockets for probes")
        })?;
        let (to, ends) = (Arc::clone(&lines), Arc::clone(&over));
        let thread = client.spawn(move || {
            let mut due = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                turn(&sockets, &to);
                due = (due + EVERY).max(Instant::now());
                thread::sleep(due - Instant::now());
            }
        })?;
        Ok(Self {
            lines,
            over,
            thread: Some(thread),
        })
    }

    /// What became of the datagrams sent to each server in this time.
    pub fn between(&self, from: Instant, to: Instant) -> Vec<Outage> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| line.between(from, to)).collect()
    }

    /// How many of a hundred were answered of those sent to a server in each part of a time; `None`: nothing
    /// was sent.
    pub fn shares(
        &self,
        server: usize,
        from: Instant,
        step: Duration,
        steps: u32,
    ) -> Vec<Option<u32>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let part = |number| {
            let begin = from + step * number;
            let part = lines[server].between(begin, begin + step);
            (part.sent > 0).then(|| ((part.sent - part.lost) * 100 / part.sent) as u32)
        };
        (0..steps).map(part).collect()
    }

    /// Whether every server has answered so many datagrams in a row that were sent since then.
    pub fn flow_since(&self, since: Instant, count: usize) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().all(|line| line.flows_since(since, count))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Line {
    fn between(&self, from: Instant, to: Instant) -> Outage {
        let first = self.sent.partition_point(|sent| sent.at < from);
        let last = self.sent.partition_point(|sent| sent.at < to);
        let mut outage = Outage::default();
        // The last one before the time, so that an outage has a beginning.
        let mut good = first.checked_sub(1).map(|before| self.sent[before].at);
        let mut missed = false;
        for sent in &self.sent[first..last] {
            outage.sent += 1;
            outage.duplicated += u64::from(sent.answers.saturating_sub(1));
            if sent.answers == 0 {
                outage.lost += 1;
                missed = true;
                continue;
            }
            if std::mem::take(&mut missed) {
                let gap = sent.at - good.unwrap_or(from);
                outage.gap = outage.gap.max(gap);
            }
            good = Some(sent.at);
        }
        if missed {
            outage.gap = outage.gap.max(to - good.unwrap_or(from));
        }
        outage
    }

    fn flows_since(&self, since: Instant, count: usize) -> bool {
        let first = self.sent.partition_point(|sent| sent.at < since);
        let mut row = 0;
        self.sent[first..].iter().any(|sent| {
            row = if sent.answers > 0 { row + 1 } else { 0 };
            row >= count
        })
    }
}

fn turn(sockets: &[Vec<UdpSocket>], lines: &Mutex<Vec<Line>>) {
    let mut answer = [0; 2 * STAMP];
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    for (line, flows) in lines.iter_mut().zip(sockets) {
        for socket in flows {
            while let Ok(length) = receive(socket, &mut answer) {
                let number = answer[..length].get(STAMP..).map(TryInto::try_into);
                let Some(Ok(number)) = number.map(|number| number.map(u64::from_be_bytes)) else {
                    continue;
                };
                if let Some(sent) = line.sent.get_mut(number as usize) {
                    sent.answers += 1;
                }
            }
        }
        let number = line.sent.len();
        let mut payload = [0; STAMP + 8];
        payload[STAMP..].copy_from_slice(&(number as u64).to_be_bytes());
        line.sent.push(Sent {
            at: Instant::now(),
            answers: 0,
        });
        // What can't be sent is not answered.
        let _ = flows[number % FLOWS].send(&payload);
    }
}

/// The next answer. That an earlier datagram was refused is told here too, and of no interest.
fn receive(socket: &UdpSocket, answer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(answer) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp::connect(server)?;
    socket.set_nonblocking(true)?;
    // SAFETY: the kernel reads an int.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const BUFFER).cast(),
            size_of_val(&BUFFER) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram each millisecond; `.` was answered, `x` was not, `2` was answered twice.
    fn line(start: Instant, became: &str) -> Line {
        let sent = (0..).zip(became.chars()).map(|(at, became)| Sent {
            at: start + Duration::from_millis(at),
            answers: match became {
                'x' => 0,
                '2' => 2,
                _ => 1,
            },
        });
        Line {
            sent: sent.collect(),
        }
    }

    #[test]
    fn a_gap_lasts_from_the_last_answered_to_the_next() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let line = line(start, "....x..2..xxx...x");
        let outage = line.between(start, start + ms(16));
        assert_eq!((outage.sent, outage.lost, outage.duplicated), (16, 4, 1));
        assert_eq!(outage.gap, ms(4));
        assert_eq!(line.between(start, start + ms(4)).gap, Duration::ZERO);
        let end = line.between(start + ms(13), start + ms(20));
        assert_eq!((end.lost, end.gap), (1, ms(5)));
        let within = line.between(start + ms(11), start + ms(15));
        assert_eq!((within.lost, within.gap), (2, ms(3)));
    }

    #[test]
    fn it_flows_after_a_row_of_answers() {
        let start = Instant::now();
        let line = line(start, ".....x..x....");
        assert!(line.flows_since(start, 5));
        let later = start + Duration::from_millis(4);
        assert!(line.flows_since(later, 4));
        assert!(!line.flows_since(later, 5));
    }
}
