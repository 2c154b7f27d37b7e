//! What users would run instead: keepalived (VRRPv3) moves the addresses, the kernel's NAT forwards, and conntrackd, if
//! it is wanted, tells the standby of connections. The same network, load and faults.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::nodes::{DEVICES, NODES, PATHS, path_end};
use forwarder_lab::pinned::NAT;
use forwarder_lab::site::{BACKENDS, ECHO, HTTP};
use forwarder_lab::{Family, Nodes, Process, wait_until};

use super::fault::{Fault, cut};
use super::pair::Pair;
use super::round::Mode;

/// Nothing here takes that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);
/// So long the standby may take to be told.
const TOLD: Duration = Duration::from_secs(15);
/// The number of the address that NAT takes for the source; it moves with the VIP.
const FLOATING: u8 = 30;
const MODES: &[Mode] = &[("full-nat", NAT, 300)];

/// How it is set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between two adverts; a node is dead after three and a bit.
    pub adverts: Duration,
    /// Whether conntrackd runs beside it.
    pub tracks: bool,
}

impl Settings {
    /// The usual interval, and the shortest that it takes.
    pub const ALL: [Self; 4] = [
        Self::new(1_000, false),
        Self::new(10, false),
        Self::new(1_000, true),
        Self::new(10, true),
    ];

    const fn new(milliseconds: u64, tracks: bool) -> Self {
        Self {
            adverts: Duration::from_millis(milliseconds),
            tracks,
        }
    }

    pub fn name(self) -> String {
        let with = if self.tracks { " + conntrackd" } else { "" };
        let adverts = self.adverts.as_millis();
        format!("keepalived {adverts} ms{with}")
    }
}

/// The daemons of a node; dropped in this order.
#[derive(Default)]
struct Daemons {
    keepalived: Option<Process>,
    conntrackd: Option<Process>,
}

/// Two nodes with it.
pub struct Keepalived {
    daemons: [Daemons; 2],
    settings: Settings,
    nodes: Nodes,
}

impl Keepalived {
    /// The network and NAT, without daemons.
    pub fn new(binary: &Path, settings: Settings) -> Result<Self> {
        let pair = Self {
            daemons: Default::default(),
            settings,
            nodes: Nodes::new(binary)?,
        };
        for node in 0..2 {
            let host = pair.nodes.host(node);
            let rules = pair.directory(node).join("nat.nft");
            fs::write(&rules, nat())?;
            let done = host.command("nft").arg("-f").arg(&rules).output()?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(done.status.success(), "nft: {said}");
            host.sysctl(&[
                ("net/ipv4/ip_forward", "1"),
                // Connections that another node has seen the beginning of.
                ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
            ])?;
        }
        Ok(pair)
    }

    fn directory(&self, node: usize) -> PathBuf {
        self.nodes.site.directory().join(NODES[node])
    }

    fn start(&mut self, node: usize) -> Result<()> {
        let directory = self.directory(node);
        let host = self.nodes.host(node);
        let log = |name: &str| directory.join(format!("{name}.log"));
        if self.settings.tracks && self.daemons[node].conntrackd.is_none() {
            let file = directory.join("conntrackd.conf");
            fs::write(&file, conntrackd(&directory, node))?;
            let _ = fs::remove_file(directory.join("conntrackd.lock"));
            let mut command = host.command("conntrackd");
            command.arg("-C").arg(&file);
            let process = Process::start(command, &log("conntrackd"))?;
            wait_until("conntrackd", LIMIT, || {
                process.output().contains("completed")
            })?;
            self.daemons[node].conntrackd = Some(process);
            // What there was before it came it does not learn by itself.
            let mut ask = host.command("conntrackd");
            ask.arg("-C").arg(&file).arg("-n").output()?;
        }
        let file = directory.join("keepalived.conf");
        fs::write(&file, self.config(node))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let mut command = host.command("keepalived");
        command.args([
            "--dont-fork",
            "--log-console",
            "--no-syslog",
            "--log-detail",
            "--vrrp",
        ]);
        command.arg(format!("--use-file={}", file.display()));
        for name in ["pid", "vrrp_pid"] {
            let path = directory.join(name);
            let _ = fs::remove_file(&path);
            command.arg(format!("--{name}={}", path.display()));
        }
        let process = Process::start(command, &log("keepalived"))?;
        self.daemons[node].keepalived = Some(process);
        Ok(())
    }

    fn config(&self, node: usize) -> String {
        let (name, priority) = (NODES[node], [200, 100][node]);
        let adverts = self.settings.adverts.as_secs_f64();
        let [vip, source] = addresses().map(|address| Family::V4.in_subnet(address));
        format!(
            "global_defs {{\n router_id {name}\n vrrp_version 3\n script_user root\n}}\n\
             vrrp_instance pair {{\n state BACKUP\n nopreempt\n interface {}\n virtual_router_id 51\n \
             priority {priority}\n advert_int {adverts}\n track_interface {{\n  eth0\n  eth1\n }}\n \
             virtual_ipaddress {{\n  {vip} dev eth0\n  {source} dev eth1\n }}\n}}\n",
            PATHS[0]
        )
    }

    /// As a crash: what the kernel was told stays.
    fn kill(&mut self, node: usize) {
        if let Some(keepalived) = self.daemons[node].keepalived.take() {
            keepalived.kill_all();
        }
    }

    /// Everything of a node.
    fn kill_all(&mut self, node: usize) {
        self.kill(node);
        self.daemons[node].conntrackd = None;
    }

    fn pause(&self, node: usize, paused: bool) -> Result<()> {
        let keepalived = self.daemons[node].keepalived.as_ref();
        keepalived.context("it runs")?.pause_all(paused);
        Ok(())
    }

    /// As a service manager does it: it says goodbye to the peer.
    fn stop(&mut self, node: usize) -> Result<()> {
        let mut keepalived = self.daemons[node].keepalived.take().context("it runs")?;
        keepalived.terminate().map(drop)
    }

    /// A machine that was switched off: nothing of what the kernel was told is left.
    fn forget(&self, node: usize) -> Result<()> {
        let host = self.nodes.host(node);
        for (address, device) in addresses().into_iter().zip(DEVICES) {
            let address = Family::V4.in_subnet(address);
            // It may not be there.
            let _ = host.ip(&format!("address del {address} dev {device}"));
        }
        host.command("conntrack").arg("-F").output()?;
        Ok(())
    }

    fn has_vip(&self, node: usize) -> bool {
        let shown = self
            .nodes
            .host(node)
            .show(&["address", "show", "dev", "eth0"]);
        let vip = addresses()[0].to_string();
        shown.is_ok_and(|shown| shown.to_string().contains(&format!("\"{vip}\"")))
    }

    fn listens(&self, node: usize) -> bool {
        let daemon = self.daemons[node].keepalived.as_ref();
        daemon.is_some_and(|daemon| daemon.output().contains("Entering BACKUP STATE"))
    }

    /// Connections that a node's kernel knows.
    fn tracked(&self, node: usize) -> usize {
        let read = || fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        let count = self.nodes.host(node).run(read);
        count
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Pair for Keepalived {
    fn name(&self) -> String {
        self.settings.name()
    }

    fn modes(&self) -> &'static [Mode] {
        MODES
    }

    fn watched(&self) -> u8 {
        NAT
    }

    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn detection(&self) -> Duration {
        self.settings.adverts * 4
    }

    fn start_again(&mut self) -> Result<()> {
        for node in 0..2 {
            self.kill_all(node);
            self.forget(node)?;
        }
        for node in 0..2 {
            self.start(node)?;
        }
        self.active().map(drop)
    }

    fn active(&self) -> Result<usize> {
        let mut has = [false; 2];
        wait_until("one node has the VIP, and the other listens", LIMIT, || {
            has = [0, 1].map(|node| self.has_vip(node));
            has[0] != has[1] && self.listens(usize::from(has[0]))
        })
        .with_context(|| self.diagnosis())?;
        Ok(usize::from(has[1]))
    }

    fn wait_for_active(&self, node: usize) -> Result<()> {
        wait_until("the node has the VIP", LIMIT, || self.has_vip(node))
            .with_context(|| self.diagnosis())
    }

    fn wait_until_told(&self, active: usize, connections: usize) -> Result<()> {
        if !self.settings.tracks {
            return Ok(());
        }
        let told = || self.tracked(1 - active) >= connections;
        let waited = wait_until("the standby knows the connections", TOLD, told);
        if waited.is_err() {
            // Then that is what it is like.
            let tracked = self.tracked(1 - active);
            eprintln!(
                "{}: the standby knows {tracked} of {connections} connections",
                self.name()
            );
        }
        Ok(())
    }

    fn inject(&mut self, fault: Fault, node: usize) -> Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::SilentDeath => cut(&self.nodes, node, &DEVICES, true),
            Fault::Kill => {
                self.kill(node);
                Ok(())
            }
            Fault::Stop => self.pause(node, true),
            Fault::LinkDown => self.nodes.host(node).ip("link set eth0 down"),
            Fault::CarrierLoss => {
                let host = self.nodes.host(node);
                self.nodes.site.set_carrier(host, "eth0", false)
            }
            Fault::HandOver | Fault::Maintenance => self.stop(node),
            Fault::Upgrade => {
                self.stop(node)?;
                self.start(node)
            }
            Fault::Partition => cut(&self.nodes, node, &PATHS, true),
        }
    }

    fn restore(&mut self, fault: Fault, node: usize) -> Result<()> {
        match fault {
            Fault::None | Fault::Upgrade => Ok(()),
            Fault::SilentDeath => {
                self.kill_all(node);
                self.forget(node)?;
                cut(&self.nodes, node, &DEVICES, false)?;
                self.start(node)
            }
            Fault::Kill | Fault::HandOver | Fault::Maintenance => self.start(node),
            Fault::Stop => self.pause(node, false),
            Fault::LinkDown => {
                self.nodes.host(node).ip("link set eth0 up")?;
                self.nodes.restore_routes(node)
            }
            Fault::CarrierLoss => {
                let host = self.nodes.host(node);
                self.nodes.site.set_carrier(host, "eth0", true)
            }
            Fault::Partition => cut(&self.nodes, node, &PATHS, false),
        }
    }

    fn diagnosis(&self) -> String {
        let mut text = String::new();
        for (daemons, name) in self.daemons.iter().zip(NODES) {
            let processes = [&daemons.keepalived, &daemons.conntrackd];
            for process in processes.into_iter().flatten() {
                let output = process.output();
                let lines: Vec<&str> = output.lines().rev().take(20).collect();
                text += &format!("{name}: {lines:#?}\n");
            }
        }
        text
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        for node in 0..2 {
            self.kill_all(node);
        }
    }
}

/// Whether there is such a thing: maintenance is a hand-over here.
pub fn can(fault: Fault) -> bool {
    fault != Fault::Maintenance
}

/// The VIP, and what NAT takes for the source.
fn addresses() -> [IpAddr; 2] {
    [Family::V4.vip(NAT), Family::V4.backend(FLOATING)]
}

/// As an administrator would write it: backends by a hash of the client.
fn nat() -> String {
    let [vip, source] = addresses();
    let backends = (0..BACKENDS.len()).map(|at| format!("{at} : {}", Family::V4.backend(at as u8)));
    let map = backends.collect::<Vec<_>>().join(", ");
    let count = BACKENDS.len();
    let rule = |protocol: &str, port: u16| {
        format!(
            "  ip daddr {vip} {protocol} dport {port} dnat to jhash ip saddr . {protocol} sport mod {count} map {{ {map} }}\n"
        )
    };
    format!(
        "table ip pair {{\n chain before {{\n  type nat hook prerouting priority dstnat;\n{}{} }}\n \
         chain after {{\n  type nat hook postrouting priority srcnat;\n  ct status dnat oifname \"eth1\" snat to {source}\n }}\n}}\n",
        rule("tcp", HTTP),
        rule("udp", ECHO)
    )
}

/// What it is told goes straight into the standby's kernel, so that nothing has to be committed at a takeover.
fn conntrackd(directory: &Path, node: usize) -> String {
    let [own, peer] = [node, 1 - node].map(|node| path_end(0, node));
    let directory = directory.display();
    format!(
        "Sync {{\n Mode FTFW {{\n  DisableExternalCache Yes\n }}\n UDP {{\n  IPv4_address {own}\n  \
         IPv4_Destination_Address {peer}\n  Port 3780\n  Interface {}\n  SndSocketBuffer 1249280\n  \
         RcvSocketBuffer 1249280\n  Checksum on\n }}\n}}\n\
         General {{\n HashSize 32768\n HashLimit 131072\n Syslog off\n LockFile {directory}/conntrackd.lock\n \
         UNIX {{\n  Path {directory}/conntrackd.ctl\n }}\n NetlinkBufferSize 2097152\n NetlinkBufferSizeMaxGrowth 8388608\n \
         Filter From Kernelspace {{\n  Protocol Accept {{\n   TCP\n   UDP\n  }}\n  Address Ignore {{\n   \
         IPv4_address 127.0.0.1\n   IPv4_address {own}\n   IPv4_address {peer}\n  }}\n }}\n}}\n",
        PATHS[0]
    )
}
