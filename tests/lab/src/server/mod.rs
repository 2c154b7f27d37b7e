//! Real servers. Each tells its name and whom it saw as the client.

mod http;
mod udp;

pub(crate) use http::send_pattern;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
pub use udp::STAMP;

/// How often a server that waits looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);

/// An HTTP server and a UDP echo on one host; stopped when dropped.
pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    name: String,
    stop: AtomicBool,
    /// Answer to `GET /health`.
    health: AtomicU16,
}

impl Server {
    /// Serves HTTP on `tcp` and echoes on `udp`, from inside `host`. UDP answers come from the
    /// address that was asked only if that address, and not the unspecified one, is listened on.
    pub fn start(
        host: &Namespace,
        name: &str,
        tcp: &[SocketAddr],
        udp: &[SocketAddr],
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stop: AtomicBool::new(false),
            health: AtomicU16::new(200),
        });
        let mut server = Self {
            shared,
            threads: Vec::new(),
        };
        for &address in tcp {
            let listener = host.run(|| http::listen(address));
            let listener = listener.with_context(|| format!("{name}: listen on tcp {address}"))?;
            let shared = server.shared.clone();
            server
                .threads
                .push(host.spawn(move || http::accept(&listener, &shared))?);
        }
        for &address in udp {
            let socket = host.run(|| udp::bind(address));
            let socket = socket.with_context(|| format!("{name}: bind udp {address}"))?;
            let shared = server.shared.clone();
            server
                .threads
                .push(host.spawn(move || udp::echo(&socket, &shared))?);
        }
        Ok(server)
    }

    /// What `GET /health` answers from now on: 200, 503 and so on.
    pub fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::Relaxed);
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether a blocking call only came back to let us look round.
fn is_tick(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock
            | std::io::ErrorKind::TimedOut
            | std::io::ErrorKind::Interrupted
    )
}
