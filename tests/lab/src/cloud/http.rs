//! HTTP/1.1 for the simulated services: one thread a connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use crate::namespace::Namespace;

const TICK: Duration = Duration::from_millis(20);
/// A connection that is idle looks whether it shall end.
const IDLE: Duration = Duration::from_millis(200);
const LARGEST: usize = 1 << 20;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// An answer; `None` in place of it closes the connection.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub etag: Option<String>,
}

/// Answers requests.
pub type Handler = Arc<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// A running server; stopped when dropped.
pub struct Listener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn start(host: &Namespace, address: SocketAddr, handler: Handler) -> Result<Self> {
        let listener = host.listen(address)?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = host.spawn(move || {
            let mut served = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(TICK);
                    continue;
                };
                let (handler, stop) = (Arc::clone(&handler), Arc::clone(&stopped));
                served.push(thread::spawn(move || drop(serve(stream, &handler, &stop))));
            }
            // They are in the namespace, which is to go.
            for thread in served {
                let _ = thread.join();
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, handler: &Handler, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader, stop)? {
        let Some(answer) = handler(&request) else {
            return Ok(());
        };
        let etag = answer.etag.map(|tag| format!("etag: {tag}\r\n"));
        let text = format!(
            "HTTP/1.1 {} Answer\r\ncontent-type: text/xml\r\n{}content-length: {}\r\n\r\n{}",
            answer.status,
            etag.unwrap_or_default(),
            answer.body.len(),
            answer.body
        );
        reader.get_mut().write_all(text.as_bytes())?;
    }
    Ok(())
}

/// The next request; `None` at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>, stop: &AtomicBool) -> io::Result<Option<Request>> {
    let mut request = Request::default();
    let mut first = true;
    loop {
        let Some(line) = read_line(reader, stop)? else {
            return Ok(None);
        };
        if first {
            let mut words = line.split(' ').map(str::to_owned);
            request.method = words.next().unwrap_or_default();
            request.path = words.next().unwrap_or_default();
            first = false;
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':') {
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            request.headers.push(header);
        }
    }
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length.min(LARGEST)];
    let mut read = 0;
    while read < body.len() {
        match reader.read(&mut body[read..]) {
            Ok(0) => return Ok(None),
            Ok(count) => read += count,
            Err(error) if is_tick(&error) && !stop.load(Ordering::Relaxed) => {}
            Err(error) => return Err(error),
        }
    }
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

fn read_line(reader: &mut BufReader<TcpStream>, stop: &AtomicBool) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => break,
            Ok(_) => return Ok(None),
            Err(error) if is_tick(&error) && !stop.load(Ordering::Relaxed) => {}
            Err(error) => return Err(error),
        }
    }
    let line = String::from_utf8_lossy(&line);
    Ok(Some(line.trim_end().to_owned()))
}

fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
