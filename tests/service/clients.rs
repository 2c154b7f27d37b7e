//! Clients of the admin socket that mean no good, or know no better.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Family, Forwarder, Namespace, Site, Traffic, wait_until};

use super::machine::{LIMIT, text};
use super::mutate::Corpus;

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const CONFIG: &str = "version = 1\n\
    interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n\
    health_check = [{ name = \"alive\", type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"5s\", fall = 5 }]\n\
    [[virtual_server]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\n\
    mode = \"full-nat\"\npool = \"web\"\nsnat = \"automap\"\n\
    [[virtual_server]]\nname = \"echo\"\naddress = \"203.0.113.10\"\nport = 7\nprotocol = \"udp\"\n\
    mode = \"full-nat\"\npool = \"web\"\nsnat = \"automap\"\n\
    [[pool]]\nname = \"web\"\nhealth_check = \"alive\"\nbackend = [{ name = \"b1\", address = \"192.0.2.11\" }]\n\
    [[pool]]\nname = \"checked\"\nhealth_check = \"alive\"\nbackend = [{ name = \"b2\", address = \"192.0.2.12\" }]\n";
/// More health checks than were under way when it was begun to count.
const CHECKS: u64 = 10;
/// Requests, new connections and datagrams of every kind that get through meanwhile.
const TURNS: u64 = 20;
/// Resident memory that all of them together may add, KiB.
const GROWTH: u64 = 48 << 10;
/// Connections that are held open at once.
const CONNECTIONS: usize = 2_000;
const MUTATIONS: usize = 1_500;

/// Dropped in this order.
struct Target {
    traffic: Option<Traffic>,
    forwarder: Forwarder,
    memory: u64,
    site: Site,
}

impl Target {
    fn start() -> Result<Self> {
        let site = Site::new(&[], &[])?;
        let binary = Path::new(FORWARDER);
        let forwarder = Forwarder::start(binary, &site.forwarder, site.directory(), CONFIG)?;
        let mut target = Self {
            traffic: None,
            forwarder,
            memory: 0,
            site,
        };
        target.is_well()?;
        let vip = |port| [SocketAddr::new(Family::V4.vip(10), port)];
        let traffic = Traffic::start(&target.site.client, &vip(HTTP), &vip(ECHO))?;
        target.traffic = Some(traffic);
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

    /// Packets and health checks go on, whether the daemon has a place for whoever asks or not.
    fn works(&self) -> Result<()> {
        let opened = |of: &Namespace| of.run(connections_taken);
        let checked = &self.site.backends[1];
        let before = opened(checked)?;
        wait_until("health checks go on", LIMIT, || {
            opened(checked).is_ok_and(|now| now >= before + CHECKS)
        })?;
        self.traffic.as_ref().context("traffic")?.turns(TURNS)
    }

    /// Nothing has disturbed the data plane or a health check.
    fn was_undisturbed(&mut self) -> Result<()> {
        let traffic = self.traffic.take().context("traffic")?;
        let tally = traffic.end()?;
        println!("{tally:?}");
        ensure!(tally.broken == 0 && tally.moved == 0, "{tally:?}");
        let history = self.forwarder.run(&["history", "--kind", "health"])?;
        let history = text(&history);
        ensure!(!history.contains("-> down"), "{history}");
        Ok(())
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

/// TCP connections that this host has taken since it is there.
fn connections_taken() -> Result<u64> {
    let counters = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = counters
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next(), lines.next());
    let (names, values) = (names.context("names")?, values.context("values")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let found = pairs.find(|(name, _)| *name == "PassiveOpens");
    Ok(found.context("PassiveOpens")?.1.parse()?)
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn malformed_requests_are_refused_and_nothing_else_happens() -> Result<()> {
    let mut target = Target::start()?;
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
    target.has_not_grown("malformed requests")?;
    target.works()?;
    target.was_undisturbed()
}

#[test]
fn thousands_of_idle_slow_and_deaf_clients_take_no_more_than_their_places() -> Result<()> {
    let mut target = Target::start()?;
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
    target.works()?;
    target.has_not_grown("with packets and health checks going on")?;
    // Whoever asks has to wait for a place, no more.
    drop(held.split_off(100));
    target.is_well()?;
    ensure!(target.descriptors()? < descriptors + 80);
    drop(held);
    let closed = wait_until("every place is free again", LIMIT, || {
        target.descriptors().is_ok_and(|now| now <= descriptors + 2)
    });
    closed.with_context(|| format!("{} and now {:?}", descriptors, target.descriptors()))?;
    target.has_not_grown("afterwards")?;
    target.was_undisturbed()
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
