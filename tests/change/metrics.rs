//! Metrics: what they say is what happened.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forwarder::admin::metrics::catalogue;
use forwarder_lab::client::http as web;
use forwarder_lab::{Family, wait_until};

use super::exposition::Page;
use super::world::{DNAT, File, LIMIT, World, echo, http};

const LISTEN: &str = "[metrics]\nlisten = \"127.0.0.1:9477\"\n";

/// An answer: its status line with the headers, and its body.
fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    head: &str,
) -> Result<(String, String)> {
    write!(stream, "{head}\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((head.to_owned(), body.to_owned()))
}

fn over_socket(socket: &Path, head: &str) -> Result<(String, String)> {
    exchange(UnixStream::connect(socket)?, head)
}

fn over_tcp(world: &World, head: &str) -> Result<(String, String)> {
    let address: SocketAddr = "127.0.0.1:9477".parse()?;
    let ask = || {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        exchange(stream, head)
    };
    world.site.forwarder.run(ask)
}

const GET: &str = "GET /metrics HTTP/1.1";

fn metrics(world: &World) -> Result<Page> {
    let (head, body) = over_socket(world.forwarder.socket(), GET)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    ensure!(head.contains("text/plain; version=0.0.4"), "{head}");
    Page::read(&body).with_context(|| body)
}

fn get_from(world: &World, vip: u8, times: usize) -> Result<()> {
    for _ in 0..times {
        world.site.client.run(|| web::get(http(vip), "/", LIMIT))?;
    }
    Ok(())
}

/// How the names of metrics begin that a node of its own on a common network device has no series of.
const ELSEWHERE: [&str; 7] = [
    "forwarder_cloud_",
    "forwarder_group_",
    "forwarder_interface_allowance_",
    "forwarder_pair_",
    "forwarder_probe",
    "forwarder_role_change",
    "forwarder_sync_",
];

#[test]
fn metrics_say_what_happened() -> Result<()> {
    let egress = "[[egress]]\nsource = \"192.0.2.0/24\"\ninterface = \"outside\"\n\
         [[pool]]\nname = \"full\"\n[[pool.backend]]\naddress = \"192.0.2.11\"\nport = 8080\n\
         [[virtual_server]]\nname = \"full\"\naddress = \"203.0.113.14\"\nport = 80\n\
         mode = \"full-nat\"\npool = \"full\"\nsnat = \"automap\"\n";
    let file = File {
        more: format!("{LISTEN}{egress}"),
        ..File::base()
    };
    let world = World::start(&file)?;
    let before = metrics(&world)?;
    get_from(&world, DNAT, 20)?;
    get_from(&world, 14, 5)?;
    // The last packets of a connection come after its answer, and the counters are read one by one.
    let server = [("virtual_server", "web"), ("direction", "in")];
    let dnat = [
        ("interface", "outside"),
        ("reason", "dnat"),
        ("outcome", "forward"),
    ];
    let pool = [("pool", "web"), ("direction", "in")];
    let mut page = Page::default();
    wait_until("every packet is counted", LIMIT, || {
        page = metrics(&world).unwrap_or_default();
        let packets = page
            .value("forwarder_virtual_server_packets_total", &server)
            .unwrap_or(0.0);
        let dnat = page.value("forwarder_packets_total", &dnat).unwrap_or(0.0);
        let backends: f64 = page.all("forwarder_backend_packets_total", &pool).sum();
        packets >= 80.0 && dnat >= packets && backends >= packets
    })
    .with_context(|| format!("{page:#?}"))?;

    // Every metric of the catalogue is there, with its type and its labels.
    let names: Vec<&String> = page.types.keys().collect();
    let mut wanted: Vec<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
    wanted.sort_unstable();
    ensure!(names == wanted, "{names:?}\n{wanted:?}");
    for metric in catalogue::ALL {
        ensure!(
            page.types[metric.name] == metric.kind.word(),
            "{}",
            metric.name
        );
        let own =
            |name: &str| name == metric.name || name.starts_with(&format!("{}_", metric.name));
        let mut series = page.series.keys().filter(|(name, _)| own(name)).peekable();
        // These are of a node of a pair, of a probe's port, of a cloud, or of its adapter.
        let elsewhere = ELSEWHERE.iter().any(|begin| metric.name.starts_with(begin));
        ensure!(series.peek().is_some() != elsewhere, "{}", metric.name);
        for (name, labels) in series.filter(|(name, _)| !name.ends_with("_bucket")) {
            let labels: Vec<&String> = labels.keys().collect();
            let mut wanted = metric.labels.to_vec();
            wanted.sort_unstable();
            // A longer name of another metric begins like this one's.
            let other = catalogue::ALL
                .iter()
                .any(|each| each.name == name && each.name != metric.name);
            ensure!(other || labels == wanted, "{name}: {labels:?}");
        }
    }

    // Numbers.
    let packets = page.value("forwarder_virtual_server_packets_total", &server)?;
    ensure!(page.value("forwarder_virtual_server_bytes_total", &server)? >= packets * 54.0);
    for (name, labels, value) in [
        ("forwarder_role", [("role", "single")], 1.0),
        ("forwarder_role", [("role", "active")], 0.0),
    ] {
        ensure!(page.value(name, &labels)? == value);
    }
    let hash = world.hash_of_file()?;
    ensure!(page.value("forwarder_config_info", &[("sha256", &hash)])? == 1.0);
    let native = [
        ("interface", "inside"),
        ("device", "eth1"),
        ("mode", "native"),
    ];
    ensure!(page.value("forwarder_interface_attachment", &native)? == 1.0);
    let up = [("pool", "web"), ("backend", "b1"), ("health", "up")];
    ensure!(page.value("forwarder_backend_health", &up)? == 1.0);
    let checks = [("pool", "web"), ("backend", "b1"), ("result", "passed")];
    ensure!(page.value("forwarder_health_checks_total", &checks)? >= 1.0);
    let count = [("pool", "web")];
    ensure!(page.value("forwarder_health_check_duration_seconds_count", &count)? >= 2.0);
    ensure!(page.value("forwarder_build_info", &[])? == 1.0);
    ensure!(page.value("process_resident_memory_bytes", &[])? > 1e6);
    let snat = [
        ("snat_pool", "automap inside"),
        ("protocol", "tcp"),
        ("family", "ipv4"),
    ];
    ensure!(page.value("forwarder_snat_ports", &snat)? == 16_384.0);

    // Counters do not fall.
    for ((name, labels), value) in &before.series {
        if page.types.get(name).is_some_and(|kind| kind == "counter") {
            let after = page.series.get(&(name.clone(), labels.clone()));
            ensure!(
                after.is_some_and(|after| after >= value),
                "{name} {labels:?}"
            );
        }
    }

    // What the walk over the flows counts comes with the next one.
    wait_until("flows are counted", LIMIT, || {
        metrics(&world).is_ok_and(|page| {
            let kind = [("kind", "established"), ("family", "ipv4")];
            let entries = page.value("forwarder_flow_entries", &kind).unwrap_or(0.0);
            let ports = page
                .value("forwarder_snat_ports_in_use", &snat)
                .unwrap_or(0.0);
            entries >= 40.0 && (1.0..=5.0).contains(&ports)
        })
    })?;

    // Over TCP: the same, and nothing else.
    let (head, body) = over_tcp(&world, GET)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let same = Page::read(&body)?;
    ensure!(same.series.keys().eq(page.series.keys()));
    for (ask, status) in [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0", "405"),
        ("GET /v1/status HTTP/1.1", "404"),
        ("POST /v1/reload HTTP/1.1\r\nContent-Length: 0", "404"),
    ] {
        let (head, body) = over_tcp(&world, ask)?;
        ensure!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{ask}: {head}\n{body}"
        );
    }

    // Whoever holds connections open keeps nobody else from the daemon, nor for long from the metrics.
    let address: SocketAddr = "127.0.0.1:9477".parse()?;
    let idle: Vec<TcpStream> = world.site.forwarder.run(|| {
        let open = (0..100).map(|_| TcpStream::connect_timeout(&address, LIMIT));
        open.collect::<std::io::Result<_>>()
    })?;
    world.forwarder.status()?;
    wait_until("places are free again", LIMIT, || {
        over_tcp(&world, GET).is_ok()
    })?;
    drop(idle);
    Ok(())
}

/// Datagrams of ever new flows: the newest push the oldest out, and never an established one.
#[test]
fn half_open_flows_that_are_pushed_out_are_counted() -> Result<()> {
    let text = File::base().text();
    let small = "flows = 100000, embryonic_flows = 1024";
    let world = World::start_text(&text.replace("flows = 100000", small))?;
    let evicted = |page: &Page, kind| {
        let labels = [("kind", kind), ("family", "ipv4")];
        page.value("forwarder_flow_entries_evicted_total", &labels)
    };
    ensure!(evicted(&metrics(&world)?, "embryonic")? == 0.0);
    let send = || {
        let socket = UdpSocket::bind((Family::V4.client(), 0))?;
        socket.send_to(b"?", echo(DNAT)).map(drop)
    };
    let mut last = None;
    let reached = wait_until("evictions are counted", LIMIT, || {
        let sent = world.site.client.run(|| (0..500).try_for_each(|_| send()));
        last = metrics(&world).ok();
        let evicted = last
            .as_ref()
            .and_then(|page| evicted(page, "embryonic").ok());
        sent.is_ok() && evicted >= Some(1_000.0)
    });
    let page = last.context("a page")?;
    reached.with_context(|| format!("{:?}", evicted(&page, "embryonic")))?;
    ensure!(evicted(&page, "established")? == 0.0);
    Ok(())
}

#[test]
fn counters_are_of_what_they_are_named_after() -> Result<()> {
    let world = World::start(&File::base())?;
    get_from(&world, DNAT, 40)?;
    let of = |page: &Page, backend| {
        let labels = [("pool", "web"), ("backend", backend), ("direction", "in")];
        page.value("forwarder_backend_packets_total", &labels)
    };
    let page = metrics(&world)?;
    let (first, second) = (of(&page, "b1")?, of(&page, "b2")?);
    ensure!(first > 20.0 && second > 20.0, "{first} {second}");
    let interface = [("interface", "inside"), ("reason", "nat-reply")];
    ensure!(page.value("forwarder_packets_total", &interface)? > 100.0);

    // One goes and another comes: it may get the index of the one that went.
    for (comes, name) in [(2, "b3"), (0, "b1")] {
        let mut file = File::base();
        file.backends = vec![(1, "")];
        world.reload(&file)?;
        file.backends.push((comes, "weight = 0"));
        world.reload(&file)?;
        let page = metrics(&world)?;
        ensure!(
            of(&page, name)? == 0.0,
            "{name} begins at zero: {}",
            of(&page, name)?
        );
        ensure!(of(&page, "b2")? >= second, "the one that stays counts on");
    }
    // A virtual server by another name is another one.
    world.replace(
        &File::base()
            .text()
            .replace("name = \"web\"\naddress", "name = \"www\"\naddress"),
    )?;
    world.run(&["reload"])?;
    let page = metrics(&world)?;
    let server = |name| [("virtual_server", name), ("direction", "in")];
    let name = "forwarder_virtual_server_packets_total";
    ensure!(page.value(name, &server("www"))? == 0.0);
    ensure!(page.value(name, &server("web")).is_err());

    // A failed reload is seen, and a good one after it.
    ensure!(page.value("forwarder_config_last_reload_successful", &[])? == 1.0);
    world.replace("nonsense")?;
    world.refused(&["reload"])?;
    let page = metrics(&world)?;
    ensure!(page.value("forwarder_config_last_reload_successful", &[])? == 0.0);
    Ok(())
}
