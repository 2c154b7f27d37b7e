//! Ethernet segments: bridges in a namespace of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::device;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::xdp_pass;

/// An Ethernet segment that hosts are plugged into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment(usize);

/// A switch with any number of segments.
pub(crate) struct Switch {
    namespace: Namespace,
    segments: AtomicUsize,
    ports: AtomicUsize,
    /// The programs that let ports receive what XDP transmits.
    programs: Mutex<Vec<OwnedFd>>,
}

impl Switch {
    pub fn new(lab: &Lab) -> Result<Self> {
        let namespace = lab.host("switch")?;
        // A switch has no addresses: no neighbour discovery of its own on the wire.
        namespace.sysctl(&[("net/ipv6/conf/default/disable_ipv6", "1")])?;
        Ok(Self {
            namespace,
            segments: AtomicUsize::new(0),
            ports: AtomicUsize::new(0),
            programs: Mutex::default(),
        })
    }

    /// A new segment.
    pub fn segment(&self) -> Result<Segment> {
        let number = next(&self.segments);
        self.namespace.ip(&format!(
            "link add segment{number} type bridge forward_delay 0 stp_state 0 mcast_snooping 0
             link set segment{number} up"
        ))?;
        Ok(Segment(number))
    }

    /// Plugs a new interface of `host` into a segment; `addresses` with their prefix lengths.
    pub fn plug(
        &self,
        host: &Namespace,
        device: &str,
        segment: Segment,
        addresses: &[String],
    ) -> Result<()> {
        let port = format!("port{}", next(&self.ports));
        host.ip(&format!(
            "link add {device} type veth peer name {port} netns {}",
            self.namespace.name()
        ))?;
        device::plain_packets(host, device)?;
        device::plain_packets(&self.namespace, &port)?;
        let program = xdp_pass::attach(&self.namespace, &port)?;
        self.programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(program);
        self.namespace
            .ip(&format!("link set {port} master segment{} up", segment.0))?;
        let mut commands = format!("link set {device} up\n");
        for address in addresses {
            let flags = if address.contains(':') { "nodad" } else { "" };
            commands.push_str(&format!("address add {address} dev {device} {flags}\n"));
        }
        host.ip(&commands)
    }

    /// Takes the carrier away from a host's device, or gives it back.
    pub fn set_carrier(&self, host: &Namespace, device: &str, carrier: bool) -> Result<()> {
        let link = host.show(&["link", "show", device])?;
        let peer = &link[0]["link_index"];
        let links = self.namespace.show(&["link", "show"])?;
        let port = links.as_array().into_iter().flatten();
        let port = port.filter(|each| each["ifindex"] == *peer && peer.is_u64());
        let port = port.filter_map(|each| each["ifname"].as_str()).next();
        let port = port.with_context(|| format!("{device} is in no port"))?;
        let state = if carrier { "up" } else { "down" };
        self.namespace.ip(&format!("link set {port} {state}"))
    }
}

fn next(counter: &AtomicUsize) -> usize {
    counter.fetch_add(1, Ordering::Relaxed)
}
