//! A cable that loses, delays, reorders and repeats frames.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::packet_socket;
use crate::namespace::Namespace;

/// What becomes of frames in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disturbance {
    /// Of 100 frames so many are lost.
    pub loss: u32,
    /// Of 100 frames so many come twice.
    pub twice: u32,
    /// Each is late by a time between these two: frames overtake each other.
    pub delay: [Duration; 2],
}

/// Between two looks, where nothing is waiting.
const LOOK: Duration = Duration::from_millis(100);

/// A running relay; it ends when dropped.
pub struct Relay {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Relays between two devices of a namespace.
    pub(crate) fn start(
        host: &Namespace,
        devices: [&str; 2],
        disturbances: [Disturbance; 2],
    ) -> Result<Self> {
        let open = |device| host.run(|| packet_socket::open(device, libc::ETH_P_ALL as u16));
        let sockets = [open(devices[0])?, open(devices[1])?];
        for socket in &sockets {
            packet_socket::ignore_outgoing(socket)?;
            socket.set_nonblocking(true)?;
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut cable = Cable {
            sockets,
            disturbances,
            waiting: BTreeMap::new(),
            number: 0,
            dice: Dice::default(),
        };
        let ends = Arc::clone(&over);
        let thread = host.spawn(move || {
            go_first();
            while !ends.load(Ordering::Relaxed) {
                cable.turn();
            }
        })?;
        Ok(Self {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A cable waits for no CPU: as far as it may, the calling thread goes before the processes of the lab.
fn go_first() {
    let parameter = libc::sched_param { sched_priority: 20 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads the parameter; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
}

struct Cable {
    sockets: [UdpSocket; 2],
    disturbances: [Disturbance; 2],
    /// Frames on their way: when they come out, and at which end.
    waiting: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    number: u64,
    dice: Dice,
}

impl Cable {
    fn turn(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let (end, frame) = entry.remove();
            // A full queue loses it, as queues do.
            let _ = self.sockets[end].send(&frame);
        }
        let next = self.waiting.keys().next().map(|(at, _)| *at - now);
        self.wait(next.unwrap_or(LOOK).min(LOOK));
        for end in 0..2 {
            let mut frame = [0; 2048];
            while let Ok(length) = self.sockets[end].recv(&mut frame) {
                self.take(end, &frame[..length]);
            }
        }
    }

    fn take(&mut self, from: usize, frame: &[u8]) {
        for late in self.dice.copies(&self.disturbances[from]) {
            self.number += 1;
            let at = (Instant::now() + late, self.number);
            self.waiting.insert(at, (1 - from, frame.to_vec()));
        }
    }

    fn wait(&self, time: Duration) {
        let poll = |socket: &UdpSocket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polled = [poll(&self.sockets[0]), poll(&self.sockets[1])];
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        };
        // SAFETY: the array and the timespec are valid for the call; no signal mask is given.
        unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &raw const time, std::ptr::null()) };
    }
}

/// The same numbers every time: xorshift64*.
struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Dice {
    /// By how much each copy of a frame is late that comes out; none is lost.
    fn copies(&mut self, disturbance: &Disturbance) -> Vec<Duration> {
        if self.throw(100) < disturbance.loss {
            return Vec::new();
        }
        let copies = 1 + u32::from(self.throw(100) < disturbance.twice);
        let [least, most] = disturbance.delay;
        let range = most.saturating_sub(least).as_micros() as u32;
        let late = |_| least + Duration::from_micros(self.throw(range + 1).into());
        (0..copies).map(late).collect()
    }

    fn throw(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (word as u32) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_lost_repeated_and_late_as_often_as_asked() {
        let disturbance = Disturbance {
            loss: 30,
            twice: 10,
            delay: [10, 30].map(Duration::from_millis),
        };
        let mut dice = Dice::default();
        let frames: Vec<_> = (0..10_000).map(|_| dice.copies(&disturbance)).collect();
        let with = |copies| frames.iter().filter(|frame| frame.len() == copies).count();
        assert!((2_900..3_100).contains(&with(0)), "{} lost", with(0));
        assert!((600..800).contains(&with(2)), "{} twice", with(2));
        let all = || frames.iter().flatten();
        let [least, most] = disturbance.delay;
        assert!(all().all(|late| (least..=most).contains(late)));
        let total: Duration = all().sum();
        let mean = total / all().count() as u32;
        assert!(mean.abs_diff(Duration::from_millis(20)) < Duration::from_millis(1));
        let calm = Disturbance::default();
        assert_eq!(dice.copies(&calm), [Duration::ZERO]);
    }
}
