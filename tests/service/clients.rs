//! Clients of the admin socket that mean no good, or know no better.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::{Forwarder, Site, wait_until};

use super::machine::LIMIT;
use super::mutate::Corpus;

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const CONFIG: &str = "version = 1\n\
    interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n\
    health_check = [{ name = \"alive\", type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"5s\" }]\n\
    [[virtual_server]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\n\
    mode = \"full-nat\"\npool = \"web\"\nsnat = \"automap\"\n\
    [[pool]]\nname = \"web\"\nhealth_check = \"alive\"\nbackend = [{ name = \"b1\", address = \"192.0.2.11\" }]\n";
/// Resident memory that all of them together may add, KiB.
const GROWTH: u64 = 48 << 10;
/// Connections that are held open at once.
const CONNECTIONS: usize = 2_000;
const MUTATIONS: usize = 1_500;

struct Target {
    forwarder: Forwarder,
    memory: u64,
    _site: Site,
}

impl Target {
    fn start() -> Result<Self> {
        let site = Site::new(&[], &[])?;
        let binary = Path::new(FORWARDER);
        let forwarder = Forwarder::start(binary, &site.forwarder, site.directory(), CONFIG)?;
        let mut target = Self {
            forwarder,
            memory: 0,
            _site: site,
        };
        target.is_well()?;
        target.memory = target.resident()?;
        Ok(target)
    }

    fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.forwarder.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("VmRSS")?.parse()?)
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.forwarder.id()))?.count())
    }

    fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.forwarder.socket())?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// Sends a request and reads the answer.
    fn ask(&self, request: &[u8]) -> Result<String> {
        let mut stream = self.connect()?;
        // It may have answered and closed before it has read all.
        let _ = stream.write_all(request);
        self.read(stream)
    }

    /// The same, having said that nothing more will come: the end of a request that is not whole.
    fn ask_and_end(&self, request: &[u8]) -> Result<String> {
        let mut stream = self.connect()?;
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        self.read(stream)
    }

    fn read(&self, stream: UnixStream) -> Result<String> {
        let mut answer = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// It answers, its health checks go on, and it reloads.
    fn is_well(&self) -> Result<()> {
        let up = wait_until("the backend is up", LIMIT, || {
            let status = self.forwarder.status().unwrap_or_default();
            status["pools"][0]["backends"][0]["health"] == "up"
        });
        up.with_context(|| self.forwarder.log())?;
        // While others hold every place, whoever asks may have to ask again.
        let mut last = None;
        let reloaded = wait_until("it reloads", LIMIT, || {
            let reload = self.forwarder.run(&["reload"]);
            let done = reload.as_ref().is_ok_and(|reload| reload.status.success());
            last = Some(reload);
            done
        });
        reloaded.with_context(|| format!("{last:?}\n{}", self.forwarder.log()))
    }

    fn has_not_grown(&self, what: &str) -> Result<()> {
        let now = self.resident()?;
        println!("{what}: {} -> {now} KiB", self.memory);
        ensure!(
            now < self.memory + GROWTH,
            "{what}: {} -> {now} KiB",
            self.memory
        );
        Ok(())
    }
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn malformed_requests_are_refused_and_nothing_else_happens() -> Result<()> {
    let target = Target::start()?;
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"packet\":{}}}", "{\"a\":".repeat(10_000));
    let huge = format!("{{\"packet\":\"{}\"}}", "x".repeat(200_000));
    let headers = "x: y\r\n".repeat(1_000);
    let long = "x".repeat(1 << 20);
    for (request, expected) in [
        (post("/v1/trace", &deep), "400"),
        (post("/v1/trace", &nested), "400"),
        (post("/v1/trace", &huge), "400"),
        (
            format!("GET /v1/status HTTP/1.1\r\n{headers}\r\n").into_bytes(),
            "431",
        ),
        (format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(), "4"),
        (
            format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n").into_bytes(),
            "431",
        ),
        (
            b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            "404",
        ),
        (
            b"DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            "405",
        ),
    ] {
        let answer = target.ask(&request)?;
        let head = String::from_utf8_lossy(&request[..60.min(request.len())]).into_owned();
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{head}: {answer}"
        );
    }

    let mut corpus = Corpus::read(&["tests/fuzz/corpus/requests"]);
    for (path, request) in corpus.files.clone() {
        let answer = target.ask(&request)?;
        ensure!(
            answer.is_empty() || answer.starts_with("HTTP/1."),
            "{}: {answer}",
            path.display()
        );
    }
    for _ in 0..MUTATIONS {
        let request = corpus.mutation();
        target.ask_and_end(&request)?;
    }
    target.is_well()?;
    ensure!(
        !target.forwarder.log().contains("panicked"),
        "{}",
        target.forwarder.log()
    );
    target.has_not_grown("malformed requests")
}

#[test]
fn thousands_of_idle_slow_and_deaf_clients_take_no_more_than_their_places() -> Result<()> {
    let target = Target::start()?;
    let descriptors = target.descriptors()?;
    let mut held = Vec::new();
    let beginning = b"POST /v1/trace HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{";
    for number in 0..CONNECTIONS {
        // Those that the queue has no room for are refused at once.
        let stream = UnixStream::connect(target.forwarder.socket());
        let Ok(mut stream) = stream else { break };
        stream.set_nonblocking(true)?;
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(&beginning[..number % beginning.len()]),
            // It asks, and never reads the answer.
            _ => stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n"),
        };
        held.push(stream);
    }
    println!("{} connections", held.len());
    ensure!(held.len() > 200, "{}", held.len());
    ensure!(
        target.descriptors()? < descriptors + 80,
        "places are limited"
    );
    target.has_not_grown("held connections")?;
    // Health checks go on meanwhile: whoever asks after them has to wait for a place, no more.
    drop(held.split_off(100));
    target.is_well()?;
    ensure!(target.descriptors()? < descriptors + 80);
    drop(held);
    let closed = wait_until("every place is free again", LIMIT, || {
        target.descriptors().is_ok_and(|now| now <= descriptors + 2)
    });
    closed.with_context(|| format!("{} and now {:?}", descriptors, target.descriptors()))?;
    target.has_not_grown("afterwards")
}

/// Whoever says nothing is shown the door.
#[test]
fn slow_clients_are_cut_off() -> Result<()> {
    let target = Target::start()?;
    for beginning in [
        "",
        "GET /v1/st",
        "POST /v1/trace HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut stream = target.connect()?;
        stream.write_all(beginning.as_bytes())?;
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        ensure!(ended.is_ok(), "{beginning:?}: {ended:?}");
    }
    target.is_well()
}
