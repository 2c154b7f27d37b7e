//! Steady traffic that notices every lost packet and every broken connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forwarder_lab::Namespace;
use forwarder_lab::client::{http, udp};
use forwarder_lab::site::{ECHO, HTTP};

use super::world::servers;

/// Connections to each virtual server.
const CONNECTIONS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(3);
const PACE: Duration = Duration::from_millis(2);

/// What has happened.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub lost: AtomicU64,
    pub requests: AtomicU64,
    pub broken: AtomicU64,
    pub moved: AtomicU64,
}

/// Running traffic.
pub struct Load {
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts it: to every virtual server datagrams, requests on connections that stay open, and new
    /// connections.
    pub fn start(client: &Namespace) -> Self {
        let mut load = Self {
            counts: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for server in servers(ECHO) {
            load.spawn(client, move |counts| {
                let mut socket = udp::Socket::open(server, PATIENCE).expect("a socket");
                let mut first = None;
                move || {
                    counts.sent.fetch_add(1, Ordering::Relaxed);
                    match socket.request(200) {
                        Err(_) => {
                            counts.lost.fetch_add(1, Ordering::Relaxed);
                            // A late answer must not be taken for the next one's.
                            socket = udp::Socket::open(server, PATIENCE).expect("a socket");
                            first = None;
                        }
                        Ok(answer) => {
                            if *first.get_or_insert(answer.backend.clone()) != answer.backend {
                                counts.moved.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
        for server in servers(HTTP) {
            load.spawn(client, move |counts| {
                let mut open: Vec<_> = (0..CONNECTIONS)
                    .map(|_| http::Connection::open(server, PATIENCE).expect("connect"))
                    .map(|mut connection| {
                        let backend = connection.get("/").expect("an answer").backend;
                        (connection, backend)
                    })
                    .collect();
                move || {
                    open.retain_mut(|(connection, backend)| {
                        counts.requests.fetch_add(1, Ordering::Relaxed);
                        let answer = connection.get("/");
                        let right = answer
                            .as_ref()
                            .is_ok_and(|answer| answer.backend == *backend);
                        if !right {
                            eprintln!("{server}: {answer:?} instead of {backend}");
                            counts.broken.fetch_add(1, Ordering::Relaxed);
                        }
                        right
                    });
                    counts.requests.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = http::get(server, "/", PATIENCE) {
                        eprintln!("{server}: new connection: {error:#}");
                        counts.broken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        load
    }

    #[expect(clippy::disallowed_methods, reason = "the pace of a client thread")]
    fn spawn<W: FnMut()>(
        &mut self,
        client: &Namespace,
        begin: impl FnOnce(Arc<Counts>) -> W + Send + 'static,
    ) {
        let (counts, stop) = (Arc::clone(&self.counts), Arc::clone(&self.stop));
        let thread = client.spawn(move || {
            let mut step = begin(counts);
            while !stop.load(Ordering::Relaxed) {
                step();
                std::thread::sleep(PACE);
            }
        });
        self.threads.push(thread.expect("a thread"));
    }

    /// Waits until so much more has been sent, of both kinds.
    pub fn pass(&self, packets: u64) {
        let now =
            || [&self.counts.sent, &self.counts.requests].map(|each| each.load(Ordering::Relaxed));
        let before = now();
        forwarder_lab::wait_until("traffic", Duration::from_secs(60), || {
            now()
                .iter()
                .zip(before)
                .all(|(now, before)| *now >= before + packets)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", self.counts));
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client failed");
        }
    }

    /// Ends it and expects that nothing was lost.
    pub fn expect_no_loss(mut self) {
        self.end();
        let counts = format!("{:?}", self.counts);
        println!("{counts}");
        for (what, count) in [
            ("lost", &self.counts.lost),
            ("broken", &self.counts.broken),
            ("moved", &self.counts.moved),
        ] {
            assert_eq!(count.load(Ordering::Relaxed), 0, "{what}: {counts}");
        }
        assert!(self.counts.sent.load(Ordering::Relaxed) > 100, "{counts}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
