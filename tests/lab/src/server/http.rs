//! A small HTTP/1.1 server, one thread a connection.
//!
//! * `GET /health`: the status set, to be used by health checks
//! * `GET /bytes/N`: N bytes of the pattern
//! * `POST /…`: 200 if the body is the pattern, else 400
//! * anything else: who answered, and whom it saw
//!
//! Every answer has the headers `backend` and `client`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Shared, TICK, is_tick};
use crate::pattern;

/// How often a connection that is idle looks whether it shall end.
const IDLE_TICK: Duration = Duration::from_secs(1);
const MAX_LINE: u64 = 8192;

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library offers the timeout, which holds for accept too, on streams only.
    let socket = TcpStream::from(OwnedFd::from(TcpListener::bind(address)?));
    socket.set_read_timeout(Some(TICK))?;
    Ok(TcpListener::from(OwnedFd::from(socket)))
}

pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped() {
        let Ok((stream, peer)) = listener.accept() else {
            continue;
        };
        let serving = shared.clone();
        let thread = thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || serve(stream, peer, &serving));
        // The connection is closed: the client sees that, and here stands why.
        if let Err(error) = thread {
            eprintln!("{}: no thread for {peer}: {error}", shared.name);
        }
    }
}

/// Serves a connection to its end; a broken one is the client's to notice.
fn serve(stream: TcpStream, peer: SocketAddr, shared: &Shared) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let ready = stream
        .set_read_timeout(Some(IDLE_TICK))
        .and_then(|()| stream.set_nodelay(true));
    if ready.is_err() {
        return;
    }
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = read_request(&mut reader, shared) {
        if answer(&mut reader, peer, shared, &request).is_err() {
            return;
        }
    }
}

struct Request {
    method: String,
    path: String,
    length: u64,
}

/// The next request, or `None` at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<Option<Request>> {
    let Some(first) = read_line(reader, shared)? else {
        return Ok(None);
    };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut request = Request {
        method,
        path,
        length: 0,
    };
    loop {
        match read_line(reader, shared)? {
            None => return Ok(None),
            Some(line) if line.is_empty() => return Ok(Some(request)),
            Some(line) => {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    request.length = value.trim().parse().unwrap_or(0);
                }
            }
        }
    }
}

fn read_line(reader: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let left = MAX_LINE - line.len() as u64;
        match reader.by_ref().take(left).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => break,
            Ok(_) => return Ok(None),
            Err(error) if is_tick(&error) && !shared.stopped() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
}

fn answer(
    reader: &mut BufReader<TcpStream>,
    peer: SocketAddr,
    shared: &Shared,
    request: &Request,
) -> io::Result<()> {
    let name = &shared.name;
    let head = |status: u16, length: u64| {
        format!(
            "HTTP/1.1 {status} {}\r\ncontent-length: {length}\r\nbackend: {name}\r\nclient: {peer}\r\n\r\n",
            if status == 200 { "OK" } else { "Error" }
        )
    };
    if let Some(length) = request
        .path
        .strip_prefix("/bytes/")
        .and_then(|n| n.parse().ok())
    {
        let stream = reader.get_mut();
        stream.write_all(head(200, length).as_bytes())?;
        return send_pattern(stream, length);
    }
    let (status, body) = if request.method == "POST" {
        match receive_pattern(reader, request.length, shared)? {
            None => (200, format!("{} bytes as they were sent\n", request.length)),
            Some(at) => (400, format!("byte {at} is wrong\n")),
        }
    } else if request.path == "/health" {
        (shared.health.load(Ordering::Relaxed), String::new())
    } else {
        (200, format!("{name} saw {peer} ask for {}\n", request.path))
    };
    let answer = head(status, body.len() as u64) + &body;
    reader.get_mut().write_all(answer.as_bytes())
}

/// Writes `length` bytes of the pattern.
pub(crate) fn send_pattern(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; 65536];
    let mut sent = 0;
    while sent < length {
        let part = (length - sent).min(buffer.len() as u64);
        let chunk = &mut buffer[..part as usize];
        pattern::fill(sent, chunk);
        stream.write_all(chunk)?;
        sent += part;
    }
    Ok(())
}

/// Reads a body; where it first differs from the pattern, if it does.
fn receive_pattern(
    reader: &mut BufReader<TcpStream>,
    length: u64,
    shared: &Shared,
) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; 65536];
    let (mut received, mut wrong) = (0, None);
    while received < length {
        let part = (length - received).min(buffer.len() as u64);
        match reader.read(&mut buffer[..part as usize]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                wrong = wrong.or_else(|| pattern::first_difference(received, &buffer[..count]));
                received += count as u64;
            }
            Err(error) if is_tick(&error) && !shared.stopped() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wrong)
}
