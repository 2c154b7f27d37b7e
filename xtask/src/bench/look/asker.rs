//! A client that asks one datagram after the other.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use forwarder_lab::Namespace;
use forwarder_lab::server::STAMP;

use crate::bench::statistic::{milliseconds, percentile};

/// Datagrams of an old flow between two new flows.
const OLD: usize = 14;
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_secs(2);

pub struct Asker(JoinHandle<io::Result<Asked>>);

/// What became of it.
pub struct Asked {
    pub per_second: f64,
    pub median_us: f64,
    /// The 99th percentile.
    pub high_us: f64,
    /// Of the first datagram of a flow, median.
    pub new_us: f64,
    pub lost: u64,
}

impl Asker {
    pub fn start(client: &Namespace, server: SocketAddr, time: Duration) -> Result<Self> {
        Ok(Self(client.spawn(move || ask(server, time))?))
    }

    pub fn end(self) -> Result<Asked> {
        Ok(self
            .0
            .join()
            .map_err(|_| anyhow!("the client panicked"))??)
    }
}

fn ask(server: SocketAddr, time: Duration) -> io::Result<Asked> {
    let old = open(server)?;
    let (mut times, mut new_times, mut lost) = (Vec::new(), Vec::new(), 0);
    let begin = Instant::now();
    while begin.elapsed() < time {
        for _ in 0..OLD {
            match request(&old) {
                Some(time) => times.push(time),
                None => lost += 1,
            }
        }
        let new = open(server)?;
        for times in [&mut new_times, &mut times] {
            match request(&new) {
                Some(time) => times.push(time),
                None => lost += 1,
            }
        }
    }
    let answered = times.len() + new_times.len();
    Ok(Asked {
        per_second: answered as f64 / begin.elapsed().as_secs_f64(),
        median_us: microseconds(&times, 50),
        high_us: microseconds(&times, 99),
        new_us: microseconds(&new_times, 50),
        lost,
    })
}

fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOST))?;
    Ok(socket)
}

/// The time to the answer.
fn request(socket: &UdpSocket) -> Option<Duration> {
    let begin = Instant::now();
    socket.send(&[0; STAMP]).ok()?;
    socket.recv(&mut [0; STAMP]).ok()?;
    Some(begin.elapsed())
}

fn microseconds(times: &[Duration], percent: usize) -> f64 {
    percentile(&mut milliseconds(times), percent) * 1e3
}
