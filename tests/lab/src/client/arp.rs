//! Asks who has an IPv4 address, and hears everybody who says that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::packet_socket;
use super::syn::parse_mac;
use crate::namespace::Namespace;

const ETH_P_ARP: u16 = 0x0806;

/// Who answered each question, by MAC address.
pub type Owners = BTreeMap<u32, BTreeSet<[u8; 6]>>;

/// A socket for ARP on one device. Every question has a sender address of its own, in 198.18.0.0/15, so
/// that each answer tells which question it is for.
pub struct Asker {
    socket: UdpSocket,
    mac: [u8; 6],
    asked: u32,
    owners: Owners,
}

impl Asker {
    /// Opens `device`; its MAC as `aa:bb:cc:dd:ee:ff`.
    pub fn open(device: &str, mac: &str) -> Result<Self> {
        let socket =
            packet_socket::open(device, ETH_P_ARP).with_context(|| format!("ARP on {device}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        Ok(Self {
            socket,
            mac: parse_mac(mac)?,
            asked: 0,
            owners: Owners::new(),
        })
    }

    /// Asks once every 10 ms, for so long, and hears the answers.
    pub fn ask_for(&mut self, address: Ipv4Addr, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.asked += 1;
            let asker = Ipv4Addr::from_bits(u32::from_be_bytes([198, 18, 0, 0]) + self.asked);
            let mut frame = vec![0xff; 6];
            frame.extend(self.mac);
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
            frame.extend(self.mac);
            frame.extend(asker.octets());
            frame.extend([0; 6]);
            frame.extend(address.octets());
            self.socket.send(&frame).context("ask")?;
            let next = Instant::now() + Duration::from_millis(10);
            while Instant::now() < next {
                self.hear(address);
            }
        }
        Ok(())
    }

    /// Who answered so far.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// How many questions were asked.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    fn hear(&mut self, address: Ipv4Addr) {
        let mut frame = [0; 64];
        let Ok(length) = self.socket.recv(&mut frame) else {
            return;
        };
        let reply = length >= 42 && frame[20..22] == [0, 2] && frame[28..32] == address.octets();
        if !reply {
            return;
        }
        let octets = [frame[38], frame[39], frame[40], frame[41]];
        let number = u32::from_be_bytes(octets).wrapping_sub(u32::from_be_bytes([198, 18, 0, 0]));
        let mut mac = [0; 6];
        mac.copy_from_slice(&frame[22..28]);
        self.owners.entry(number).or_default().insert(mac);
    }
}

/// Asks all the time who has an address, until this is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was asked and answered so far.
#[derive(Default)]
struct Seen {
    asked: u32,
    /// Questions that more than one answered.
    twice: BTreeSet<u32>,
}

impl Watch {
    /// Asks from a host's device.
    pub fn start(host: &Namespace, device: &str, address: Ipv4Addr) -> Result<Self> {
        let mac = host.mac(device)?;
        let mut asker = host.run(|| Asker::open(device, &mac))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (to, ends) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = host.spawn(move || {
            let part = Duration::from_millis(50);
            while !ends.load(Ordering::Relaxed) && asker.ask_for(address, part).is_ok() {
                // No answer is later than a second.
                let late = asker.asked().saturating_sub(100);
                let twice = asker.owners().range(late..);
                let twice = twice.filter(|(_, macs)| macs.len() > 1);
                let mut seen = to.lock().unwrap_or_else(PoisonError::into_inner);
                seen.asked = asker.asked();
                seen.twice.extend(twice.map(|(number, _)| *number));
            }
        })?;
        Ok(Self {
            seen,
            over,
            thread: Some(thread),
        })
    }

    /// How many questions were asked so far, about.
    pub fn asked(&self) -> u32 {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .asked
    }

    /// How many of the questions after the first so many had answers of two.
    pub fn twice_since(&self, asked: u32) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.twice.range(asked + 1..).count()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
