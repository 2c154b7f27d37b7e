//! The way in from outside: what is sent to an Elastic IP address goes to the private address that it is
//! associated with: UDP echoes, and connections by HTTP.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::connections::Connections;
use super::{Shared, lock};
use crate::namespace::Namespace;
use crate::site::{ECHO, HTTP, HTTP_REWRITTEN};

const TICK: Duration = Duration::from_millis(1);

/// Forwards until this is dropped.
pub struct Gateway {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Takes what comes to a public address, which becomes one of the host's.
    pub fn start(
        host: &Namespace,
        state: Shared,
        allocation: &str,
        public: IpAddr,
    ) -> Result<Self> {
        host.ip(&format!("address add {public}/32 dev lo"))?;
        let front = host.run(|| open(SocketAddr::new(public, ECHO)));
        let front = front.with_context(|| format!("listen at {public}"))?;
        let ports = [HTTP, HTTP_REWRITTEN];
        let doors = host.run(|| ports.map(|port| Connections::at(public, port)));
        let doors: io::Result<Vec<_>> = doors.into_iter().collect();
        let doors = doors.with_context(|| format!("listen at {public}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, allocation) = (Arc::clone(&stop), allocation.to_owned());
        let thread = host.spawn(move || {
            let mut flows = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let at = lock(&state)
                    .things
                    .allocations
                    .get(&allocation)
                    .and_then(|found| found.at.clone());
                let private = at.map(|(_, private)| private);
                turn(&front, &mut flows, private);
                doors.iter().for_each(|door| door.turn(private));
                thread::sleep(TICK);
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whatever has come, each way. A socket of its own for each client and private address.
fn turn(
    front: &UdpSocket,
    flows: &mut BTreeMap<(SocketAddr, IpAddr), UdpSocket>,
    private: Option<IpAddr>,
) {
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = front.recv_from(&mut buffer) {
        let Some(private) = private else { continue };
        let flow = (client, private);
        let socket = match flows.entry(flow) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let any = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
                let Ok(socket) = open(any) else { continue };
                place.insert(socket)
            }
        };
        // What is lost on the way is lost.
        let _ = socket.send_to(&buffer[..length], SocketAddr::new(private, ECHO));
    }
    for ((client, _), socket) in flows.iter() {
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let _ = front.send_to(&buffer[..length], client);
        }
    }
}
