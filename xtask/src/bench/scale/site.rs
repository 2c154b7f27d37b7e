//! Many virtual servers, and one host that is all of their backends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use forwarder_lab::server::Server;
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Forwarder, Namespace, Site, wait_until};

/// Checking thousands of backends for the first time takes an interval.
const LIMIT: Duration = Duration::from_secs(120);
/// Virtual servers of each protocol that the load asks.
const ASKED: u16 = 3;

/// How many of each.
pub struct Shape {
    servers: u16,
    pools: u16,
    backends: u16,
}

impl Shape {
    pub const FULL: Self = Self {
        servers: 4096,
        pools: 64,
        backends: 64,
    };

    /// The file; `changed`: the weight of one backend is another.
    pub fn config(&self, changed: Option<usize>) -> String {
        let mut text = String::from(
            "version = 1\n\
             interface = [{ name = \"outside\", device = \"eth0\" }, { name = \"inside\", device = \"eth1\" }]\n\
             health_check = [{ name = \"tcp\", type = \"tcp\", port = 80, interval = \"10s\", timeout = \"5s\" }]\n",
        );
        for pool in 0..self.pools {
            text +=
                &format!("[[pool]]\nname = \"pool{pool}\"\nhealth_check = \"tcp\"\nbackend = [\n");
            for index in 0..self.backends {
                let weight = match changed {
                    Some(round) if (pool, index) == (3, 5) => format!(", weight = {}", 2 + round),
                    _ => String::new(),
                };
                let address = self.backend(pool, index);
                text += &format!("  {{ name = \"b{index}\", address = \"{address}\"{weight} }},\n");
            }
            text += "]\n";
        }
        for number in 0..self.servers {
            let (protocol, port) = if number % 2 == 0 {
                ("tcp", HTTP)
            } else {
                ("udp", ECHO)
            };
            text += &format!(
                "[[virtual_server]]\nname = \"server{number}\"\naddress = \"{}\"\nport = {port}\n\
                 protocol = \"{protocol}\"\nmode = \"dnat\"\npool = \"pool{}\"\n",
                vip(number),
                self.pool_of(number),
            );
        }
        text
    }

    /// One in two is of TCP: each pool has servers of both.
    fn pool_of(&self, number: u16) -> u16 {
        number / 2 % self.pools
    }

    fn backend(&self, pool: u16, index: u16) -> IpAddr {
        address(64, pool * self.backends + index)
    }

    /// Virtual servers of HTTP that the load asks: one of them has the pool with the backend that changes.
    pub fn web(&self) -> Vec<SocketAddr> {
        let numbers = (0..ASKED).map(|number| 2 * (number + 1));
        numbers
            .map(|number| SocketAddr::new(vip(number), HTTP))
            .collect()
    }

    /// Virtual servers of the UDP echo that the load asks.
    pub fn echo(&self) -> Vec<SocketAddr> {
        let numbers = (0..ASKED).map(|number| 2 * (number + 1) + 1);
        numbers
            .map(|number| SocketAddr::new(vip(number), ECHO))
            .collect()
    }

    /// Addresses that the load's UDP echo is at.
    fn echo_backends(&self) -> Vec<SocketAddr> {
        let pools = (0..ASKED).map(|number| self.pool_of(2 * (number + 1) + 1));
        let addresses = pools.flat_map(|pool| (0..self.backends).map(move |index| (pool, index)));
        addresses
            .map(|(pool, index)| SocketAddr::new(self.backend(pool, index), ECHO))
            .collect()
    }
}

fn vip(number: u16) -> IpAddr {
    address(128, number)
}

fn address(second: u8, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, second, high, low).into()
}

/// The site, with a host behind the forwarder that has every backend's address. Dropped in this order.
pub struct Farm {
    _server: Server,
    _host: Namespace,
    pub site: Site,
}

impl Farm {
    pub fn build() -> Result<Self> {
        let site = Site::new(&[], &[])?;
        let host = site.lab().host("farm")?;
        site.plug(&host, "eth0", site.inside, &["192.0.2.50/24".to_owned()])?;
        host.ip("route add local 10.64.0.0/16 dev lo\nroute add default via 192.0.2.2")?;
        site.forwarder.ip("route add 10.64.0.0/16 via 192.0.2.50")?;
        site.router.ip("route add 10.128.0.0/16 via 203.0.113.2")?;
        let tcp = [SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), HTTP)];
        let server = Server::start(&host, "farm", &tcp, &Shape::FULL.echo_backends())?;
        Ok(Self {
            _server: server,
            _host: host,
            site,
        })
    }

    /// Waits until every backend has answered its first check.
    pub fn wait_until_ready(&self, forwarder: &Forwarder) -> Result<()> {
        wait_until("every backend is up", LIMIT, || {
            let status = forwarder.status().unwrap_or_default().to_string();
            status.contains("\"up\"")
                && !status.contains("\"checking\"")
                && !status.contains("\"down\"")
                && !status.contains("\"next_hop\":null")
        })
        .with_context(|| forwarder.log())
    }
}
