//! What is configured while it is measured: made as a config file, compiled as every config file is.
//!
//! Flow number `n` of a client has `n`'s low 14 bits in its port and the rest in its address; see
//! [`forwarder_common::bench::Template`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use forwarder_common::Mode;
use forwarder_common::protocol::TCP;
use sha2::{Digest as _, Sha256};

use crate::config::model::InterfaceAddress;
use crate::config::{self, Prefix};
use crate::core::compile::{BackendKey, Input, State, compile};
use crate::core::facts::{Device, Facts, LinkState};
use crate::core::key::Vip;
use crate::core::next_hop::neighbours_wanted;
use crate::core::tables::Tables;

/// Loopback: packets of a test run come in by it.
pub const IFINDEX: u32 = 1;
/// The interface's MAC address.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Backends of a small pool and of a large one.
pub const POOLS: [u32; 2] = [10, 1_000];
/// Virtual servers that there is room for.
pub const VIRTUAL_SERVERS: u32 = 8_192;
/// The flow hash's key.
pub const HASH_KEY: [u64; 2] = [0x7d1f_0c9a_4be2_5638, 0x81f6_a05b_3ce9_4d27];

/// Ports of the virtual servers: what is special about each.
pub mod port {
    /// The small pool.
    pub const PLAIN: u16 = 80;
    /// The large pool.
    pub const LARGE: u16 = 81;
    /// The client is denied.
    pub const DENIED: u16 = 82;
    /// Hardly any new flows are admitted.
    pub const RATE: u16 = 83;
    /// Every backend is disabled.
    pub const EMPTY: u16 = 84;
    /// The backend's next hop is not resolved.
    pub const NO_NEXT_HOP: u16 = 85;
    /// Allow and deny lists that let the client in.
    pub const LISTED: u16 = 86;
    /// A rate guard that lets every flow in.
    pub const GUARDED: u16 = 87;
    /// Four SNAT ports in all.
    pub const EXHAUSTED: u16 = 88;
    /// Nobody serves it.
    pub const NONE: u16 = 99;
}

/// Which configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every mode and everything special.
    Modes,
    /// This many virtual servers, `l2-dsr`, of each family.
    Servers(u32),
    /// One of each family, on a node of a pair that has the lease for them.
    Leased,
}

impl Kind {
    /// Every configuration.
    pub const ALL: [Self; 5] = [
        Self::Modes,
        Self::Servers(1),
        Self::Leased,
        Self::Servers(1_024),
        Self::Servers(4_096),
    ];

    /// Left out where time is short.
    pub fn is_for_full_only(self) -> bool {
        matches!(self, Self::Servers(count) if count > 1)
    }
}

/// The configuration as a file and as maps.
#[derive(Debug)]
pub struct Scene {
    /// The file's text.
    pub config: String,
    /// What it becomes.
    pub tables: Tables,
}

/// The VIP of a mode; that of [`Kind::Servers`] is `l2-dsr`'s, and those after it.
pub fn vip(mode: Mode, ipv6: bool) -> IpAddr {
    let mode = mode as u16;
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x70, mode, 0, 0, 0, 0).into()
    } else {
        Ipv4Addr::new(10, 112, (mode << 4) as u8, 0).into()
    }
}

/// Where flow 0 comes from.
pub fn client(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 0).into()
    } else {
        Ipv4Addr::new(10, 64, 0, 0).into()
    }
}

/// What flow 0 is translated to.
pub fn translated(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0).into()
    } else {
        Ipv4Addr::new(10, 128, 0, 0).into()
    }
}

/// Addresses that new flows are translated to, while they are timed.
pub fn fresh(number: u8, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x81, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, 129, 0, number).into()
    }
}

/// A backend.
pub fn backend(number: u32, ipv6: bool) -> IpAddr {
    let number = number as u16 + 0x101;
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number).into()
    } else {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 0, high, low).into()
    }
}

impl Scene {
    /// Makes and compiles it.
    pub fn new(kind: Kind) -> Result<Self> {
        let config = text(kind);
        let model = config::parse("bench", &config)
            .map_err(|errors| anyhow::anyhow!("{errors}"))?
            .for_node(None)
            .map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let mut facts = Facts {
            devices: BTreeMap::from([("lo".to_owned(), device()?)]),
            ..Facts::default()
        };
        let unresolved = [false, true].map(|ipv6| backend(POOLS[1], ipv6));
        for (at, (ifindex, address)) in (0_u16..).zip(neighbours_wanted(&model, &facts)) {
            if !unresolved.contains(&address) {
                let [high, low] = at.to_be_bytes();
                facts
                    .neighbours
                    .insert((ifindex, address), [6, 0, 0, 0, high, low]);
            }
        }
        let input = Input {
            model: &model,
            facts: &facts,
            down: &BTreeSet::<BackendKey>::new(),
            ramps: &BTreeMap::new(),
            now: Duration::ZERO,
        };
        let tables = compile(input, &State::new(&model.limits)).tables;
        Ok(Self { config, tables })
    }

    /// Id of a mode's virtual server.
    pub fn id(&self, mode: Mode, ipv6: bool) -> Result<u32> {
        let vip = Vip {
            address: vip(mode, ipv6),
            port: port::PLAIN,
            protocol: TCP,
        };
        let server = self.tables.virtual_servers.get(&vip);
        Ok(server.with_context(|| format!("no {vip}"))?.id)
    }
}

/// SHA-256 of the configurations.
pub fn hash<'a>(configs: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    configs.for_each(|config| hash.update(config));
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn device() -> Result<Device> {
    let own = |text: &str, length| {
        let address = text.parse()?;
        anyhow::Ok(InterfaceAddress {
            address,
            subnet: Prefix::of(address, length).context("a subnet")?,
        })
    };
    Ok(Device {
        ifindex: IFINDEX,
        mac: MAC,
        mtu: 1_600,
        state: LinkState::Up,
        addresses: vec![own("10.0.0.1", 16)?, own("2001:db8:1::1", 64)?],
        driver: "veth".to_owned(),
        ..Device::default()
    })
}

fn text(kind: Kind) -> String {
    let mut text = format!(
        "version = 1\nhash_key = \"{:016x}{:016x}\"\nlimits = {{ virtual_servers = {VIRTUAL_SERVERS} }}\n\n[[interface]]\nname = \"bench\"\ndevice = \"lo\"\n",
        HASH_KEY[0], HASH_KEY[1]
    );
    for ipv6 in [false, true] {
        match kind {
            Kind::Modes => modes(&mut text, ipv6),
            Kind::Servers(count) => many(&mut text, count, ipv6),
            Kind::Leased => many(&mut text, 1, ipv6),
        }
        pools(&mut text, kind, ipv6);
    }
    text
}

fn family(ipv6: bool) -> char {
    if ipv6 { '6' } else { '4' }
}

fn server(text: &mut String, address: IpAddr, port: u16, protocol: &str, mode: Mode, more: &str) {
    let mode = mode.name();
    let _ = write!(
        text,
        "\n[[virtual_server]]\nname = \"{mode}-{address}-{port}-{protocol}\"\naddress = \"{address}\"\nport = {port}\n\
         protocol = \"{protocol}\"\nmode = \"{mode}\"\n{more}"
    );
}

/// Every mode, and what is special about ports.
fn modes(text: &mut String, ipv6: bool) {
    let f = family(ipv6);
    for mode in Mode::ALL {
        let address = vip(mode, ipv6);
        let snat = |pool: &str| match mode {
            Mode::FullNat => format!("snat = \"{pool}{f}\"\n"),
            _ => String::new(),
        };
        if mode == Mode::Local {
            server(text, address, port::PLAIN, "tcp", mode, "");
            continue;
        }
        for protocol in ["tcp", "udp"] {
            for (port, pool) in [(port::PLAIN, "small"), (port::LARGE, "large")] {
                let more = format!("pool = \"{pool}{f}\"\n") + &snat("out");
                server(text, address, port, protocol, mode, &more);
            }
        }
        let client = client(ipv6);
        let list = if ipv6 { 48 } else { 10 };
        let lists = |word: &str| format!("{word} = [\"{client}/{list}\"]\n");
        let special = [
            (port::DENIED, "small", lists("deny")),
            (port::RATE, "small", "new_flows_per_second = 1\n".into()),
            (port::EMPTY, "empty", String::new()),
            (port::NO_NEXT_HOP, "unresolved", String::new()),
            (port::LISTED, "small", lists("allow")),
            (
                port::GUARDED,
                "small",
                "new_flows_per_second = 1000000\n".into(),
            ),
            (port::EXHAUSTED, "small", String::new()),
        ];
        for (port, pool, more) in special {
            let from = if port == port::EXHAUSTED {
                "tiny"
            } else {
                "out"
            };
            let more = format!("pool = \"{pool}{f}\"\n{more}") + &snat(from);
            server(text, address, port, "tcp", mode, &more);
        }
    }
    let addresses: Vec<String> = (0..64)
        .map(|number| format!("\"{}\"", fresh(number, ipv6)))
        .collect();
    let addresses = addresses.join(", ");
    let _ = write!(
        text,
        "\n[[snat_pool]]\nname = \"out{f}\"\naddresses = [{addresses}]\nports = \"1024-65535\"\ninterface = \"bench\"\n\
         \n[[snat_pool]]\nname = \"tiny{f}\"\naddresses = [\"{}\"]\nports = \"40000-40003\"\ninterface = \"bench\"\n",
        fresh(200, ipv6)
    );
}

/// Many virtual servers on the addresses from `l2-dsr`'s on.
fn many(text: &mut String, count: u32, ipv6: bool) {
    let more = format!("pool = \"small{}\"\n", family(ipv6));
    for number in 0..count {
        let address = match vip(Mode::L2Dsr, ipv6) {
            IpAddr::V4(address) => IpAddr::V4((u32::from(address) + number).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) + u128::from(number)).into()),
        };
        server(text, address, port::PLAIN, "tcp", Mode::L2Dsr, &more);
    }
}

fn pools(text: &mut String, kind: Kind, ipv6: bool) {
    let f = family(ipv6);
    let mut pool = |name: &str, backends: std::ops::Range<u32>, more: &str| {
        let _ = write!(text, "\n[[pool]]\nname = \"{name}{f}\"\n");
        for number in backends {
            let address = backend(number, ipv6);
            let _ = write!(text, "[[pool.backend]]\naddress = \"{address}\"\n{more}");
        }
    };
    pool("small", 0..POOLS[0], "");
    if kind == Kind::Modes {
        pool("large", 0..POOLS[1], "");
        pool("empty", 0..1, "state = \"disabled\"\n");
        pool("unresolved", POOLS[1]..POOLS[1] + 1, "");
    }
}
