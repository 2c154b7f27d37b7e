//! Connections through whole chains: client and server are one thread, so its CPU time is what a connection costs.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forwarder_common::Mode;
use socket2::SockRef;

use super::daemon::{self, Daemon};
use super::meter::Meter;
use super::network::Network;
use super::rival::{self, Rival};
use super::router::{Router, Side, shown};
use crate::bench::Effort;
use crate::bench::scene;
use crate::io::clock;
use crate::io::ethtool::Switch;

/// Bytes of a request and of an answer.
const BYTES: usize = 64;
/// An answer has come by then, or never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Everything forwards by then.
const START: Duration = Duration::from_secs(60);
/// Measurements in a round; the least counts.
const RUNS: usize = 3;
/// The link without anything in between: the client's end and the server's.
const DIRECT: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 200, 0, 1), Ipv4Addr::new(10, 200, 0, 2)];

/// What connections go through.
const MODES: [Mode; 3] = [Mode::L2Dsr, Mode::Dnat, Mode::FullNat];
const RIVALS: [Rival; 2] = [Rival::Dnat, Rival::DnatSnat];
const HAPROXY: &str = "haproxy";

/// Names of all ways, also of those that cannot be measured here.
pub fn names() -> Vec<&'static str> {
    let mut names = vec![super::DIRECT];
    names.extend(MODES.map(Mode::name));
    names.extend(RIVALS.map(Rival::name));
    names.push(HAPROXY);
    names
}

/// A way from client to server.
pub struct Way {
    /// The name in reports.
    pub name: String,
    target: SocketAddr,
    /// A process whose CPU time belongs to it.
    process: Option<u32>,
}

/// CPU time of a connection with one request, and of one more request, nanoseconds.
pub type Cost = [f64; 2];

/// Everything that is measured with connections.
pub struct Bench {
    /// The ways.
    pub ways: Vec<Way>,
    /// What can't be measured, and why.
    pub missing: Vec<String>,
    /// Config files.
    pub configs: Vec<String>,
    client: Network,
    listener: TcpListener,
    _server: Network,
    _routers: Vec<Router>,
    _daemon: Daemon,
    _proxy: Option<Proxy>,
}

impl Bench {
    /// Sets everything up.
    pub fn new(binary: &Path) -> Result<Self> {
        let (client, server) = (Network::new()?, Network::new()?);
        for network in [&client, &server] {
            let settings = ["all", "default"].map(|scope| format!("ipv4/conf/{scope}/rp_filter"));
            network.sysctl(&settings.each_ref().map(|key| (key.as_str(), "0")))?;
        }
        direct(&client, &server)?;
        let way = |name: &str, address: IpAddr| Way {
            name: name.to_owned(),
            target: SocketAddr::new(address, 80),
            process: None,
        };
        let mut ways = vec![way(super::DIRECT, DIRECT[1].into())];
        let mut missing = Vec::new();
        let mut routers = Vec::new();
        let mut router = |vips: &[IpAddr]| -> Result<usize> {
            let router = Router::new(routers.len() as u16, &client, &server)?;
            connect(&router, &client, &server, vips)?;
            routers.push(router);
            Ok(routers.len() - 1)
        };
        let modes = MODES;
        let vips = modes.map(|mode| scene::vip(mode, false));
        let forwarder = router(&vips)?;
        let mut rivals = Vec::new();
        for rival in RIVALS {
            match rival.missing() {
                Some(why) => missing.push(format!("connections by {}: {why}", rival.name())),
                None => rivals.push((rival, router(&[vip(rivals.len() as u8)])?)),
            }
        }
        let proxied = vip(100);
        let proxy_router = if rival::installed(HAPROXY) {
            Some(router(&[proxied])?)
        } else {
            missing.push("connections by HAProxy: `haproxy` is not installed".to_owned());
            None
        };
        let config = daemon::config(&routers[forwarder], "tcp", 1);
        let daemon = Daemon::start(binary, &routers[forwarder], &config)?;
        // The server has the VIP whose packets reach it unchanged, and answers by the direct link.
        server.ip(&format!("address add {} dev lo", vips[0]))?;
        client.ip(&format!(
            "route replace {} via {} src {}",
            vips[0],
            routers[forwarder].own(Side::Left, false),
            DIRECT[0]
        ))?;
        ways.extend(
            modes
                .iter()
                .zip(vips)
                .map(|(mode, vip)| way(mode.name(), vip)),
        );
        for (number, (rival, at)) in rivals.into_iter().enumerate() {
            let address = vip(number as u8);
            let other = Ipv6Addr::new(0x2001, 0xdb8, 0x71, 0, 0, 0, 0, number as u16);
            rival.set_up(&routers[at], [address, other.into()], 1)?;
            ways.push(way(rival.name(), address));
        }
        let mut proxy = None;
        if let Some(at) = proxy_router {
            let running = Proxy::start(&routers[at], proxied)?;
            ways.push(Way {
                process: Some(running.0.id()),
                ..way("haproxy", proxied)
            });
            proxy = Some(running);
        }
        Ok(Self {
            ways,
            missing,
            configs: vec![config],
            listener: server.run(|| {
                let listener = TcpListener::bind("0.0.0.0:80")?;
                // That is for accepting, too.
                SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
                Ok(listener)
            })?,
            client,
            _server: server,
            _routers: routers,
            _daemon: daemon,
            _proxy: proxy,
        })
    }

    /// Waits until a connection gets through; a process that belongs to the way shares this thread's CPU from then on.
    pub fn check(&self, way: &Way) -> Result<()> {
        self.client.enter()?;
        if let Some(process) = way.process {
            same_cpu(process)?;
        }
        let begin = clock::monotonic();
        loop {
            match self.connection(way.target, 2) {
                Ok(()) => return Ok(()),
                Err(error) if clock::monotonic() - begin > START => {
                    return Err(error.context(format!("a connection by {}", way.name)));
                }
                Err(_) => super::pause(),
            }
        }
    }

    /// What it costs.
    pub fn measure(&self, way: &Way, effort: Effort, meter: &Meter) -> Result<Cost> {
        let count = match effort {
            Effort::Correctness => 2,
            Effort::Quick => 200,
            Effort::Full => 400,
        };
        self.client.enter()?;
        let with_process = way.process.map(|process| meter.and(process));
        let meter = with_process.as_ref().unwrap_or(meter);
        let mut least = [f64::INFINITY; 2];
        for _ in 0..RUNS {
            let before = meter.now();
            for _ in 0..count {
                self.connection(way.target, 1)
                    .with_context(|| format!("a connection by {}", way.name))?;
            }
            let one = (meter.now() - before).as_nanos() as f64 / f64::from(count);
            let before = meter.now();
            self.connection(way.target, 1 + count)?;
            let many = (meter.now() - before).as_nanos() as f64;
            for (least, cost) in least.iter_mut().zip([one, (many - one) / f64::from(count)]) {
                *least = least.min(cost);
            }
        }
        Ok(least)
    }

    /// A connection with some requests; the server closes it.
    fn connection(&self, target: SocketAddr, requests: u32) -> Result<()> {
        let mut client = TcpStream::connect_timeout(&target, PATIENCE)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = [0; BYTES];
        client.write_all(&bytes)?;
        let (mut server, _) = self.listener.accept()?;
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(PATIENCE))?;
        for number in 0..requests {
            if number > 0 {
                client.write_all(&bytes)?;
            }
            server.read_exact(&mut bytes)?;
            server.write_all(&bytes)?;
            client.read_exact(&mut bytes)?;
        }
        drop(server);
        ensure!(client.read(&mut bytes)? == 0, "more than was sent");
        Ok(())
    }
}

/// The VIP of something that is not the forwarder.
fn vip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 113, number, 1).into()
}

/// A link from client to server.
fn direct(client: &Network, server: &Network) -> Result<()> {
    client.ip(&format!(
        "link add direct type veth peer name direct netns {}",
        server.path()
    ))?;
    for (network, address) in [client, server].into_iter().zip(DIRECT) {
        network.ip(&format!(
            "address add {address}/24 dev direct\nlink set direct up"
        ))?;
        plain(network, "direct")?;
    }
    Ok(())
}

/// Both ends know the router, and the router's VIPs.
fn connect(router: &Router, client: &Network, server: &Network, vips: &[IpAddr]) -> Result<()> {
    let [g, s] = router.devices();
    let backend = router.backend(Side::Right, 0, false);
    for (network, device, address, side) in [
        (client, &g, router.end(Side::Left, false), Side::Left),
        (server, &s, backend, Side::Right),
    ] {
        let (own, mac) = (router.own(side, false), shown(router.mac(side)));
        network.ip(&format!(
            "address add {address}/24 dev {device}\nneighbour add {own} lladdr {mac} nud permanent dev {device}"
        ))?;
        plain(network, device)?;
    }
    for vip in vips {
        let gateway = router.own(Side::Left, false);
        client.ip(&format!("route add {vip} via {gateway}"))?;
    }
    let (clients, gateway) = (
        router.end(Side::Left, false),
        router.own(Side::Right, false),
    );
    server.ip(&format!("route add {clients} via {gateway}"))
}

/// Packets as a network card has them: whole checksums, no larger than the MTU; and received by polling.
fn plain(network: &Network, device: &str) -> Result<()> {
    for switch in [
        Switch::TransmitChecksum,
        Switch::TcpSegmentation,
        Switch::Segmentation,
    ] {
        network.switch(device, switch, false)?;
    }
    network.switch(device, Switch::GenericReceive, true)
}

/// Keeps a process with one thread on this thread's CPU.
fn same_cpu(process: u32) -> Result<()> {
    // SAFETY: a plain set of bits of the size given.
    let result = unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or(0), &mut one);
        libc::sched_setaffinity(
            process.cast_signed(),
            size_of::<libc::cpu_set_t>(),
            &raw const one,
        )
    };
    ensure!(result == 0, "process {process} can't be pinned");
    Ok(())
}

/// A running HAProxy; killed when dropped.
struct Proxy(Child);

impl Proxy {
    fn start(router: &Router, vip: IpAddr) -> Result<Self> {
        router.routes()?;
        let network = &router.network;
        network.ip(&format!("address add {vip} dev lo"))?;
        let backend = router.backend(Side::Right, 0, false);
        let config = format!(
            "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             listen bench\n bind {vip}:80\n server backend {backend}:80\n"
        );
        let mut command = network.command(HAPROXY);
        command.args(["-db", "-q", "-f", "/dev/stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let mut stdin = child.stdin.take().context("standard input")?;
        stdin.write_all(config.as_bytes())?;
        Ok(Self(child))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
