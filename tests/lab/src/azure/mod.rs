//! What stands in front of the nodes in Azure: a load balancer that probes each node at its own address, and
//! sends what is for its front end to one that says yes. Real packets, moved frame by frame.
//!
//! Floating IP on: the destination stays the front end's address. Off: it becomes the node's own address and
//! the backend port, and the front end puts its address back into the replies. What a node sends from the front
//! end's address goes its own way. TCP flows stay where they are whatever the probes say; UDP flows move.

mod flows;
mod frame;
mod probe;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::client::packet_socket;
use crate::namespace::Namespace;
use crate::nodes::Nodes;
use crate::site::Family;
use flows::Flows;
use frame::{Frame, Protocol};
pub use probe::{Asked, Probe};

/// Where the platform's probes come from.
pub const PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const DEVICE: &str = "eth0";
const TICK: Duration = Duration::from_millis(100);

/// A load-balancing rule, of TCP and UDP alike.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The front end's address.
    pub address: Ipv4Addr,
    /// Its port; 0: all of them ("HA ports").
    pub port: u16,
    /// Without floating IP, the port that nodes get it by; `None`: floating IP.
    pub backend_port: Option<u16>,
}

/// The running load balancer. To be dropped before the nodes.
pub struct FrontEnd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _host: Namespace,
}

struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    health: [probe::Health; 2],
    answers: Vec<(usize, bool)>,
    flows: Flows,
    /// Packets from clients, by node.
    carried: [u64; 2],
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl FrontEnd {
    /// Stands in front of both nodes from now on: whatever clients send to the rule's address comes here.
    ///
    /// # Errors
    /// When there can be no such host.
    pub fn start(nodes: &Nodes, rule: Rule, probe: Probe) -> Result<Self> {
        let host = nodes.site.lab().host("azure")?;
        nodes.site.plug(&host, DEVICE, nodes.site.outside, &[])?;
        host.ip(&format!(
            "address add {PLATFORM}/32 dev {DEVICE}\nroute add {} dev {DEVICE} src {PLATFORM}",
            "203.0.113.0/24"
        ))?;
        let own = mac(&host, DEVICE)?;
        let mut ends = Vec::new();
        for node in 0..2 {
            let at = nodes.host(node);
            at.ip(&format!("route add {PLATFORM}/32 dev eth0"))?;
            let address = [Family::V4.outside(), Family::V4.vip(3)][node];
            let IpAddr::V4(address) = address else {
                unreachable!("of IPv4")
            };
            let mac = mac(at, "eth0")?;
            ends.push(End { address, mac });
        }
        let router = &nodes.site.router;
        router.ip(&format!(
            "neighbour replace {} lladdr {} dev outside nud permanent",
            rule.address,
            host.mac(DEVICE)?
        ))?;
        let socket = host.run(|| packet_socket::open(DEVICE, libc::ETH_P_IP as u16))?;
        packet_socket::ignore_outgoing(&socket)?;
        socket.set_read_timeout(Some(TICK))?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let carrier = Carrier {
            socket,
            rule,
            own,
            router: mac(router, "outside")?,
            ends: ends.clone(),
        };
        let of = Arc::clone(&shared);
        let carrying = host.spawn(move || carrier.run(&of))?;
        let of = Arc::clone(&shared);
        let addresses: Vec<_> = ends.iter().map(|end| end.address).collect();
        let probing = host.spawn(move || probe.run(&addresses, &of))?;
        Ok(Self {
            shared,
            threads: vec![carrying, probing],
            _host: host,
        })
    }

    /// Which nodes get new flows.
    pub fn healthy(&self) -> [bool; 2] {
        self.shared.lock().health.map(|health| health.up)
    }

    /// Every probe in order: the node, and whether it said yes.
    pub fn answers(&self) -> Vec<(usize, bool)> {
        self.shared.lock().answers.clone()
    }

    /// Packets that were carried to each node.
    pub fn carried(&self) -> [u64; 2] {
        self.shared.lock().carried
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

type Mac = [u8; 6];

#[derive(Clone, Copy)]
struct End {
    address: Ipv4Addr,
    mac: Mac,
}

/// Carries frames between clients and nodes.
struct Carrier {
    socket: UdpSocket,
    rule: Rule,
    own: Mac,
    router: Mac,
    ends: Vec<End>,
}

impl Carrier {
    fn run(&self, shared: &Shared) {
        let mut buffer = [0; 2048];
        while !shared.stopped() {
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let Some(mut frame) = Frame::of(&mut buffer[..length]) else {
                continue;
            };
            let from = self.ends.iter().position(|end| end.mac == frame.from());
            let goes = match from {
                Some(node) => self.back(&mut frame, self.ends[node]),
                None => self.forth(&mut frame, &mut shared.lock()),
            };
            if let Some(to) = goes {
                frame.address(self.own, to);
                // What a full queue loses is lost.
                let _ = self.socket.send(&buffer[..length]);
            }
        }
    }

    /// From a client to a node.
    fn forth(&self, frame: &mut Frame<'_>, state: &mut State) -> Option<Mac> {
        let [client, front] = frame.ends();
        let asked = self.rule.port == 0 || self.rule.port == front.port();
        if *front.ip() != self.rule.address || !asked {
            return None;
        }
        let healthy = state.health.map(|health| health.up);
        let udp = frame.protocol() == Protocol::Udp;
        let key = (frame.protocol(), client, front);
        let node = state.flows.node(key, frame.begins(), udp, healthy)?;
        state.carried[node] += 1;
        let end = self.ends[node];
        if let Some(port) = self.rule.backend_port {
            frame.rewrite([client, SocketAddrV4::new(end.address, port)]);
        }
        Some(end.mac)
    }

    /// From a node to a client.
    fn back(&self, frame: &mut Frame<'_>, end: End) -> Option<Mac> {
        let [source, client] = frame.ends();
        if *client.ip() == PLATFORM {
            return None;
        }
        if Some(source.port()) == self.rule.backend_port && *source.ip() == end.address {
            let front = SocketAddrV4::new(self.rule.address, self.rule.port);
            frame.rewrite([front, client]);
        }
        (*frame.ends()[0].ip() == self.rule.address).then_some(self.router)
    }
}

fn mac(host: &Namespace, device: &str) -> Result<Mac> {
    let text = host.mac(device)?;
    let bytes = text.split(':').map(|pair| u8::from_str_radix(pair, 16));
    let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
    Mac::try_from(bytes).ok().context("six bytes")
}
