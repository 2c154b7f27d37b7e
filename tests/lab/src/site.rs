//! The site that the demo and most tests use.
//!
//! ```text
//!   client ── router ──┬── forwarder ──┬── b1
//!          "access"    │ eth0     eth1 ├── b2
//!                  "outside"           ├── b3
//!                      └───────────────┘
//!                 the way back of direct     "inside"
//!                 server return
//! ```
//! The backends' default route is the forwarder; only what they send from a VIP goes straight to the
//! router. The forwarder's own kernel forwards nothing: whatever gets through went through XDP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::relay::{Disturbance, Relay};
use crate::server::Server;
use crate::switch::{End, Segment, Switch};

/// Port of HTTP, at VIPs and backends.
pub const HTTP: u16 = 80;
/// Port of HTTP at backends only: what NAT rewrites to.
pub const HTTP_REWRITTEN: u16 = 8080;
/// Port of the UDP echo, at VIPs and backends.
pub const ECHO: u16 = 7;
/// Port of the UDP echo at backends only.
pub const ECHO_REWRITTEN: u16 = 7007;
/// Names of the backends.
pub const BACKENDS: [&str; 3] = ["b1", "b2", "b3"];

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn address(self, subnet: Subnet, host: u8) -> IpAddr {
        match self {
            Self::V4 => {
                let [a, b, c] = match subnet {
                    Subnet::Access => [198, 51, 100],
                    Subnet::Outside => [203, 0, 113],
                    Subnet::Inside => [192, 0, 2],
                };
                Ipv4Addr::new(a, b, c, host).into()
            }
            Self::V6 => {
                let subnet = match subnet {
                    Subnet::Access => 0x100,
                    Subnet::Outside => 0x113,
                    Subnet::Inside => 0x2,
                };
                Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, decimal_as_hex(host)).into()
            }
        }
    }

    /// The client's address.
    pub fn client(self) -> IpAddr {
        self.address(Subnet::Access, 7)
    }

    /// The forwarder's own address on `eth0`.
    pub fn outside(self) -> IpAddr {
        self.address(Subnet::Outside, 2)
    }

    /// The forwarder's own address on `eth1`.
    pub fn inside(self) -> IpAddr {
        self.address(Subnet::Inside, 2)
    }

    /// An address of the outside subnet that is free to be a VIP; `number` from 10.
    pub fn vip(self, number: u8) -> IpAddr {
        self.address(Subnet::Outside, number)
    }

    /// A backend's address, `index` from 0; from 3 on an address nobody has.
    pub fn backend(self, index: u8) -> IpAddr {
        self.address(Subnet::Inside, 11 + index)
    }

    /// The router's address in the subnet of `eth0`: the forwarder's gateway.
    pub fn router(self) -> IpAddr {
        self.address(Subnet::Outside, 1)
    }

    fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    fn any(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }

    /// An address with the prefix length of its subnet, as `ip address add` takes it.
    pub fn in_subnet(self, address: IpAddr) -> String {
        format!("{address}/{}", self.prefix())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

#[derive(Clone, Copy)]
enum Subnet {
    Access,
    Outside,
    Inside,
}

/// 11 becomes 0x11, so that addresses of both families read alike.
fn decimal_as_hex(number: u8) -> u16 {
    let number = u16::from(number);
    number / 100 * 256 + number / 10 % 10 * 16 + number % 10
}

/// Client, router, forwarder and backends, with servers running.
pub struct Site {
    // Dropped in this order: servers before the namespaces that their threads are in.
    servers: Vec<Option<Server>>,
    /// Where requests come from.
    pub client: Namespace,
    /// Between client, forwarder and backends.
    pub router: Namespace,
    /// The host that forwards; `eth0` outside, `eth1` inside.
    pub forwarder: Namespace,
    /// The hosts that serve.
    pub backends: Vec<Namespace>,
    /// The segment of `eth0`.
    pub outside: Segment,
    /// The segment of `eth1`.
    pub inside: Segment,
    switch: Arc<Switch>,
    lab: Lab,
}

impl Site {
    /// Builds the site. The backends have `direct_vips` on loopback, for direct server return; the
    /// forwarder has `local_vips`, and serves them itself.
    pub fn new(direct_vips: &[IpAddr], local_vips: &[IpAddr]) -> Result<Self> {
        let lab = Lab::new()?;
        let switch = Arc::new(Switch::new(&lab)?);
        let (access, outside, inside) = (switch.segment()?, switch.segment()?, switch.segment()?);
        let client = lab.host("client")?;
        let router = lab.host("router")?;
        let forwarder = lab.host("forwarder")?;
        let both = |subnet, host| Family::ALL.map(|f| f.in_subnet(f.address(subnet, host)));

        switch.plug(&client, "eth0", access, &both(Subnet::Access, 7))?;
        switch.plug(&router, "access", access, &both(Subnet::Access, 1))?;
        switch.plug(&router, "outside", outside, &both(Subnet::Outside, 1))?;
        switch.plug(&router, "inside", inside, &both(Subnet::Inside, 1))?;
        switch.plug(&forwarder, "eth0", outside, &both(Subnet::Outside, 2))?;
        switch.plug(&forwarder, "eth1", inside, &both(Subnet::Inside, 2))?;
        router.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv6/conf/all/forwarding", "1"),
        ])?;
        client.ip(&default_routes(|f| f.address(Subnet::Access, 1)))?;
        forwarder.ip(&default_routes(Family::router))?;
        forwarder.ip(&on_loopback(local_vips))?;

        let mut backends = Vec::new();
        for (index, name) in BACKENDS.into_iter().enumerate() {
            let backend = lab.host(name)?;
            switch.plug(
                &backend,
                "eth0",
                inside,
                &both(Subnet::Inside, 11 + index as u8),
            )?;
            direct_server_return(&backend, direct_vips)?;
            backends.push(backend);
        }
        let mut site = Self {
            servers: Vec::new(),
            client,
            router,
            forwarder,
            backends,
            outside,
            inside,
            switch,
            lab,
        };
        site.start_servers(direct_vips, local_vips)?;
        Ok(site)
    }

    fn start_servers(&mut self, direct_vips: &[IpAddr], local_vips: &[IpAddr]) -> Result<()> {
        for (index, (host, name)) in self.backends.iter().zip(BACKENDS).enumerate() {
            let mut udp: Vec<_> = direct_vips
                .iter()
                .map(|&vip| SocketAddr::new(vip, ECHO))
                .collect();
            for address in Family::ALL.map(|family| family.backend(index as u8)) {
                udp.extend([ECHO, ECHO_REWRITTEN].map(|port| SocketAddr::new(address, port)));
            }
            let tcp = [HTTP, HTTP_REWRITTEN].map(|port| (Ipv6Addr::UNSPECIFIED, port).into());
            self.servers
                .push(Some(Server::start(host, name, &tcp, &udp)?));
        }
        if !local_vips.is_empty() {
            let at = |port| {
                local_vips
                    .iter()
                    .map(move |&vip| SocketAddr::new(vip, port))
            };
            let (tcp, udp): (Vec<_>, Vec<_>) = (at(HTTP).collect(), at(ECHO).collect());
            self.servers.push(Some(Server::start(
                &self.forwarder,
                "forwarder",
                &tcp,
                &udp,
            )?));
        }
        Ok(())
    }

    /// The server of a backend, by index.
    pub fn server(&self, index: usize) -> Option<&Server> {
        self.servers.get(index)?.as_ref()
    }

    /// Stops a backend's server: its ports are closed from now on.
    pub fn stop_server(&mut self, index: usize) {
        self.servers[index] = None;
    }

    /// Cuts a backend's cable, or plugs it in again.
    pub fn connect(&self, index: usize, connected: bool) -> Result<()> {
        let state = if connected { "up" } else { "down" };
        self.backends[index].ip(&format!("link set eth0 {state}"))?;
        if connected {
            // The routes and IPv6 addresses went with the link.
            let family = Family::V6;
            let address = family.in_subnet(family.backend(index as u8));
            self.backends[index].ip(&format!("address replace {address} dev eth0 nodad"))?;
            return backend_routes(&self.backends[index]);
        }
        Ok(())
    }

    /// Takes the carrier away from a host's device, or gives it back: at the switch, the host's side stays up.
    pub fn set_carrier(&self, host: &Namespace, device: &str, carrier: bool) -> Result<()> {
        self.switch.set_carrier((host, device), carrier)
    }

    /// Plugs a machine's card into a segment; the machine opens the TAP device in [`Self::switch`].
    pub fn tap(&self, name: &str, segment: Segment) -> Result<()> {
        self.switch.tap(name, segment)
    }

    /// The switch itself.
    pub(crate) fn wiring(&self) -> Arc<Switch> {
        Arc::clone(&self.switch)
    }

    /// The host that the switch is in.
    pub fn switch(&self) -> &Namespace {
        self.switch.host()
    }

    /// One more segment.
    pub fn segment(&self) -> Result<Segment> {
        self.switch.segment()
    }

    /// Cuts cables in the middle, or mends them: their ends notice nothing but the silence.
    pub fn cut(&self, ends: &[End], cut: bool) -> Result<()> {
        self.switch.set_forwarding(ends, !cut)
    }

    /// Puts a relay between two ends that are alone on their segment; it disturbs what the first sends, and
    /// what the second does. [`Self::replug`] puts things right.
    pub fn relay(&self, ends: [End; 2], disturbances: [Disturbance; 2]) -> Result<Relay> {
        self.switch.relay(ends, disturbances)
    }

    /// Plugs two ends into their segment again. The relay must be gone.
    pub fn replug(&self, ends: [End; 2]) -> Result<()> {
        self.switch.replug(ends)
    }

    /// Gives a host one more interface.
    pub fn plug(
        &self,
        host: &Namespace,
        device: &str,
        segment: Segment,
        addresses: &[String],
    ) -> Result<()> {
        self.switch.plug(host, device, segment, addresses)
    }

    /// The lab it is built in: names and files.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A directory for its files, removed with it.
    pub fn directory(&self) -> &Path {
        self.lab.directory()
    }
}

/// Puts VIPs on loopback and lets answers from them bypass the forwarder.
fn direct_server_return(backend: &Namespace, vips: &[IpAddr]) -> Result<()> {
    backend.sysctl(&[
        ("net/ipv4/conf/all/arp_ignore", "1"),
        ("net/ipv4/conf/all/arp_announce", "2"),
    ])?;
    backend.ip(&on_loopback(vips))?;
    for vip in vips {
        let rule = format!("rule add from {vip} lookup {DIRECT_TABLE}");
        if vip.is_ipv4() {
            backend.ip(&rule)?
        } else {
            backend.ip6(&rule)?
        }
    }
    backend_routes(backend)
}

const DIRECT_TABLE: u32 = 100;

fn backend_routes(backend: &Namespace) -> Result<()> {
    let direct = Family::ALL.map(|family| {
        let router = family.address(Subnet::Inside, 1);
        format!(
            "route replace {} via {router} table {DIRECT_TABLE}\n",
            family.any()
        )
    });
    backend.ip(&(default_routes(Family::inside) + &direct.concat()))
}

fn default_routes(gateway: impl Fn(Family) -> IpAddr) -> String {
    let route =
        |family: Family| format!("route replace {} via {}\n", family.any(), gateway(family));
    Family::ALL.map(route).concat()
}

fn on_loopback(addresses: &[IpAddr]) -> String {
    let command = |address: &IpAddr| match address {
        IpAddr::V4(_) => format!("address add {address}/32 dev lo\n"),
        IpAddr::V6(_) => format!("address add {address}/128 dev lo nodad\n"),
    };
    addresses.iter().map(command).collect()
}
