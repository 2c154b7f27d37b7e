//! A node of the pair: a machine in QEMU.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use forwarder_lab::pinned::config;
use forwarder_lab::{Family, Process, Site};

use super::network::NODES;
use crate::vmtest::QEMU;
use crate::vmtest::image::{self, Content};
use crate::vmtest::kernels::Kernel;
use crate::vmtest::machine;

/// Where a node says how it is.
pub const METRICS: u16 = 9477;
/// Where it accepts connections while it is active.
pub const PROBE: u16 = 8086;
/// Two for each of the machine's CPUs: half of them are XDP's own.
const QUEUES: u32 = 4;

/// How the nodes watch each other.
#[derive(Clone, Copy)]
pub struct Timing {
    pub interval: Duration,
    pub multiplier: u32,
}

/// What machines are made of.
pub struct Made {
    pub kernel: Kernel,
    pub forwarder: PathBuf,
    pub init: PathBuf,
    pub timing: Timing,
}

/// A machine that runs; killed when dropped.
pub struct Guest {
    process: Process,
}

/// A node's own address on `eth0`.
pub fn outside(node: usize, family: Family) -> IpAddr {
    family.vip(3 + node as u8)
}

/// A node's own address on `eth1`.
fn inside(node: usize, family: Family) -> IpAddr {
    family.backend(20 + node as u8)
}

/// The MAC address of a card.
pub fn mac(node: usize, card: usize) -> String {
    format!("52:54:00:00:{node:02x}:{card:02x}")
}

impl Guest {
    /// Boots a node; its cards are in the switch already.
    pub fn boot(made: &Made, site: &Site, node: usize, key: &Path) -> Result<Self> {
        let name = NODES[node];
        let root = site.directory().join(format!("{name}.cpio"));
        let content = Content {
            init: made.init.clone(),
            programs: vec![("bin/forwarder".to_owned(), made.forwarder.clone())],
            modules: modules(&made.kernel),
            files: vec![("forwarder.toml".to_owned(), file(made.timing).into_bytes())],
            secrets: vec![(
                "pair.key".to_owned(),
                fs::read(key).context("the pair's key")?,
            )],
            plan: plan(node),
        };
        image::write(&made.kernel, &content, &root)?;
        let mut command = site.switch().command(QEMU);
        machine::prepare(&mut command, &made.kernel.image, &root);
        for card in 0..2 {
            let (device, mac) = (device(node, card), mac(node, card));
            let vectors = 2 * QUEUES + 2;
            command
                .arg("-netdev")
                .arg(format!(
                    "tap,id=n{card},ifname={device},script=no,downscript=no,queues={QUEUES}"
                ))
                .arg("-device")
                .arg(format!(
                    "virtio-net-pci,netdev=n{card},mac={mac},mq=on,vectors={vectors},romfile="
                ));
        }
        let log = site.directory().join(format!("{name}.log"));
        let process = Process::start(command, &log)?;
        Ok(Self { process })
    }

    /// Stops it where it is, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.process.pause(paused);
    }

    /// What its console has shown.
    pub fn console(&self) -> String {
        self.process.output()
    }

    /// Whether it runs no more.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }
}

/// The TAP device of a card.
pub fn device(node: usize, card: usize) -> String {
    format!("tap{node}{card}")
}

/// What there is of virtio's parts that is no part of the kernel itself.
fn modules(kernel: &Kernel) -> Vec<&'static str> {
    let built_in = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
    let mut names = vec!["virtio_pci", "virtio_net"];
    names.retain(|name| !built_in.contains(&format!("/{name}.ko")));
    names
}

/// What the first process does: the network, and the daemon.
fn plan(node: usize) -> String {
    let mut plan = String::from("/bin/ip link set lo up\n");
    for (device, address) in [
        ("eth0", outside as fn(usize, Family) -> IpAddr),
        ("eth1", inside),
    ] {
        for family in Family::ALL {
            let address = family.in_subnet(address(node, family));
            let flags = if family == Family::V6 { " nodad" } else { "" };
            plan += &format!("/bin/ip address add {address} dev {device}{flags}\n");
        }
        plan += &format!("/bin/ip link set {device} up\n");
    }
    for (family, any) in Family::ALL.into_iter().zip(["0.0.0.0/0", "::/0"]) {
        plan += &format!("/bin/ip route replace {any} via {}\n", family.router());
    }
    plan + &format!(
        "/bin/forwarder run /forwarder.toml --node {} --socket /run/forwarder/forwarder.sock\n",
        NODES[node]
    )
}

/// The file of both nodes.
fn file(timing: Timing) -> String {
    let path = |address: fn(usize, Family) -> IpAddr, family| {
        let [one, other] = [0, 1].map(|node| address(node, family));
        format!("{{ address = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}")
    };
    let top = format!(
        "hash_key = \"00112233445566778899aabbccddeeff\"\n\
         node = [{{ name = \"lb1\" }}, {{ name = \"lb2\" }}]\n\
         metrics = {{ listen = \"{}\" }}\nprobe = [{{ port = {PROBE} }}]\n\
         pair = {{ key_file = \"/pair.key\", interval = \"{}ms\", multiplier = {}, path = [{}, {}] }}",
        SocketAddr::from(([0, 0, 0, 0], METRICS)),
        timing.interval.as_millis(),
        timing.multiplier,
        path(outside, Family::V4),
        path(inside, Family::V6),
    );
    let floating = Family::ALL.map(|family| format!("\"{}\"", family.backend(30)));
    let floating = format!("floating_address = [{}]", floating.join(", "));
    let inside = "device = \"eth1\"";
    config(&top, 3).replace(inside, &format!("{inside}, {floating}"))
}
