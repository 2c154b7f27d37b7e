//! Connections that live long and never fall silent: a request on each every so often.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::namespace::Namespace;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: vip\r\n\r\n";
/// Between two looks at every connection.
const EVERY: Duration = Duration::from_millis(10);
/// For a new connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any answer takes over a network that works.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What became of connections so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// Open.
    pub connections: usize,
    /// Answers on all of them.
    pub answers: u64,
    /// Ended by a reset.
    pub resets: u64,
    /// Ended otherwise, or answered by another backend than before.
    pub broken: u64,
    /// The longest that one waits for an answer now.
    pub silent: Duration,
    /// So many wait for one for longer than [`SILENCE`].
    pub waiting: usize,
    /// The longest that one has waited for an answer that came.
    pub stalled: Duration,
}

/// Connections that go on until this is dropped.
pub struct Chatter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    talk: Mutex<Talk>,
    /// What is silent is to be closed, and what is missing opened again.
    renew: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn talk<T>(&self, with: impl FnOnce(&mut Talk) -> T) -> T {
        with(&mut self.talk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Chatter {
    /// Opens so many connections to each HTTP server, with a request on each every `pause`.
    ///
    /// # Errors
    /// When a server does not accept one.
    pub fn start(
        client: &Namespace,
        servers: &[(SocketAddr, usize)],
        pause: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let all = servers
            .iter()
            .flat_map(|(server, count)| vec![*server; *count]);
        let lines: Result<Vec<_>> = client.run(|| all.map(Line::open).collect());
        let mut lines = lines?;
        let told = Arc::clone(&shared);
        let thread = client.spawn(move || {
            let share = (pause.as_millis() / EVERY.as_millis()).max(1) as usize;
            for turn in (0..share).cycle() {
                if told.over.load(Ordering::Relaxed) {
                    return;
                }
                if told.renew.swap(false, Ordering::Relaxed) {
                    renew(&mut lines);
                    told.talk(|talk| *talk = Talk::default());
                }
                look(&mut lines, turn, share, &told);
                thread::sleep(EVERY);
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What became of them since they were opened or renewed.
    pub fn talk(&self) -> Talk {
        self.shared.talk(|talk| *talk)
    }

    /// Counts from nought again, and replaces connections that have ended or wait for an answer.
    pub fn renew(&self) {
        self.shared.renew.store(true, Ordering::Relaxed);
        while self.shared.renew.load(Ordering::Relaxed) {
            thread::sleep(EVERY);
        }
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection.
struct Line {
    server: SocketAddr,
    stream: Option<TcpStream>,
    /// Since when it waits for an answer.
    asked: Option<Instant>,
    answer: Vec<u8>,
    backend: Option<String>,
}

/// How a connection ended.
enum End {
    Reset,
    Broken,
}

impl Line {
    fn open(server: SocketAddr) -> Result<Self> {
        Ok(Self {
            server,
            stream: Some(connect(server).with_context(|| format!("connect to {server}"))?),
            asked: None,
            answer: Vec::new(),
            backend: None,
        })
    }

    fn silent(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    fn ask(&mut self) -> Result<(), End> {
        if let (Some(stream), None) = (&mut self.stream, self.asked) {
            stream.write_all(REQUEST).map_err(|error| end(&error))?;
            self.asked = Some(Instant::now());
        }
        Ok(())
    }

    /// How long an answer took that has come.
    fn hear(&mut self) -> Result<Option<Duration>, End> {
        let (Some(stream), Some(asked)) = (&mut self.stream, self.asked) else {
            return Ok(None);
        };
        let mut part = [0; 1024];
        match stream.read(&mut part) {
            Ok(0) => return Err(End::Broken),
            Ok(length) => self.answer.extend(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(end(&error)),
        }
        let text = String::from_utf8_lossy(&self.answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Ok(None);
        };
        let field = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("content-length: ").and_then(|length| length.parse().ok());
        if body.len() < length.unwrap_or(0) {
            return Ok(None);
        }
        let backend = field("backend: ").map(str::to_owned);
        let first = self
            .backend
            .get_or_insert(backend.clone().unwrap_or_default());
        if backend.as_ref() != Some(first) {
            return Err(End::Broken);
        }
        self.answer.clear();
        self.asked = None;
        Ok(Some(asked.elapsed()))
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn end(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
        _ => End::Broken,
    }
}

/// Hears every connection, and asks on one in `share` of them.
fn look(lines: &mut [Line], turn: usize, share: usize, told: &Shared) {
    let (mut answers, mut open, mut waiting) = (Vec::new(), 0, 0);
    let (mut resets, mut broken, mut silent) = (0, 0, Duration::ZERO);
    for (number, line) in lines.iter_mut().enumerate() {
        let heard = line.hear().and_then(|heard| {
            if number % share == turn {
                line.ask()?;
            }
            Ok(heard)
        });
        match heard {
            Ok(heard) => answers.extend(heard),
            Err(how) => {
                (line.stream, line.asked) = (None, None);
                match how {
                    End::Reset => resets += 1,
                    End::Broken => broken += 1,
                }
            }
        }
        open += usize::from(line.stream.is_some());
        silent = silent.max(line.silent());
        waiting += usize::from(line.silent() > SILENCE);
    }
    told.talk(|talk| {
        talk.connections = open;
        talk.answers += answers.len() as u64;
        talk.resets += resets;
        talk.broken += broken;
        talk.silent = silent;
        talk.waiting = waiting;
        talk.stalled = answers.into_iter().fold(talk.stalled, Duration::max);
    });
}

fn renew(lines: &mut [Line]) {
    for line in lines {
        if line.stream.is_none() || line.silent() > SILENCE {
            let server = line.server;
            *line = Line {
                server,
                stream: connect(server).ok(),
                asked: None,
                answer: Vec::new(),
                backend: None,
            };
        }
    }
}
