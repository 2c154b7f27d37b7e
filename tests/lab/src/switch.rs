//! Ethernet segments: bridges in a namespace of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::device;
use crate::iproute::bridge_batch;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::relay::{Disturbance, Relay};
use crate::xdp_pass;

/// An Ethernet segment that hosts are plugged into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment(usize);

/// A switch with any number of segments.
pub(crate) struct Switch {
    namespace: Namespace,
    segments: AtomicUsize,
    ports: Mutex<Vec<Port>>,
}

/// What a cable ends in.
struct Port {
    host: String,
    device: String,
    segment: Segment,
    /// Lets the port receive what XDP transmits.
    _program: OwnedFd,
}

/// A host's end of a cable: the host and its device.
pub type End<'a> = (&'a Namespace, &'a str);

impl Switch {
    pub fn new(lab: &Lab) -> Result<Self> {
        let namespace = lab.host("switch")?;
        // A switch has no addresses: no neighbour discovery of its own on the wire.
        namespace.sysctl(&[("net/ipv6/conf/default/disable_ipv6", "1")])?;
        Ok(Self {
            namespace,
            segments: AtomicUsize::new(0),
            ports: Mutex::default(),
        })
    }

    /// A new segment.
    pub fn segment(&self) -> Result<Segment> {
        let number = self.segments.fetch_add(1, Ordering::Relaxed);
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
        let known = |port: &Port| port.host == host.name() && port.device == device;
        let place = {
            let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
            let again = ports.iter().position(known);
            again.unwrap_or(ports.len())
        };
        let port = format!("port{place}");
        host.ip(&format!(
            "link add {device} type veth peer name {port} netns {}",
            self.namespace.name()
        ))?;
        device::plain_packets(host, device)?;
        device::plain_packets(&self.namespace, &port)?;
        let program = xdp_pass::attach(&self.namespace, &port)?;
        self.namespace
            .ip(&format!("link set {port} master segment{} up", segment.0))?;
        let mut commands = format!("link set {device} up\n");
        for address in addresses {
            let flags = if address.contains(':') { "nodad" } else { "" };
            commands.push_str(&format!("address add {address} dev {device} {flags}\n"));
        }
        host.ip(&commands)?;
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Port {
            host: host.name().to_owned(),
            device: device.to_owned(),
            segment,
            _program: program,
        };
        match ports.get_mut(place) {
            Some(old) => *old = new,
            None => ports.push(new),
        }
        Ok(())
    }

    /// Takes an interface away from its host, as if the card were pulled out; it can be plugged in again.
    pub fn unplug(&self, (host, device): End) -> Result<()> {
        host.ip(&format!("link delete {device}"))
    }

    /// Plugs a machine's card into a segment: a TAP device that the machine opens, in [`Self::host`].
    pub fn tap(&self, name: &str, segment: Segment) -> Result<()> {
        self.namespace.ip(&format!(
            "tuntap add dev {name} mode tap multi_queue
             link set {name} master segment{} up",
            segment.0
        ))
    }

    /// The host that the switch is in.
    pub fn host(&self) -> &Namespace {
        &self.namespace
    }

    /// Takes the carrier away from a host's device, or gives it back.
    pub fn set_carrier(&self, (host, device): End, carrier: bool) -> Result<()> {
        let (port, _) = self.port(host, device)?;
        let state = if carrier { "up" } else { "down" };
        self.namespace.ip(&format!("link set {port} {state}"))
    }

    /// Forwards nothing from or to some ends, or does so again. They notice nothing of it but the silence.
    pub fn set_forwarding(&self, ends: &[End], on: bool) -> Result<()> {
        // The states of a bridge's port: forwarding and disabled.
        let state = if on { 3 } else { 0 };
        let mut commands = String::new();
        for (host, device) in ends {
            let (port, _) = self.port(host, device)?;
            commands += &format!("link set dev {port} state {state}\n");
        }
        bridge_batch(&["-n", self.namespace.name()], &commands)
    }

    /// From now on frames between two ends go through a relay, and nowhere else.
    pub fn relay(&self, ends: [End; 2], disturbances: [Disturbance; 2]) -> Result<Relay> {
        let mut ports = Vec::new();
        for (host, device) in ends {
            let (port, _) = self.port(host, device)?;
            self.namespace.ip(&format!("link set {port} nomaster"))?;
            ports.push(port);
        }
        Relay::start(&self.namespace, [&ports[0], &ports[1]], disturbances)
    }

    /// Plugs two ends into their segment again, after a relay.
    pub fn replug(&self, ends: [End; 2]) -> Result<()> {
        ends.iter().try_for_each(|(host, device)| {
            let (port, segment) = self.port(host, device)?;
            let command = format!("link set {port} master segment{}", segment.0);
            self.namespace.ip(&command)
        })
    }

    fn port(&self, host: &Namespace, device: &str) -> Result<(String, Segment)> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |port: &Port| port.host == host.name() && port.device == device;
        let number = ports.iter().position(is_it);
        let number = number.with_context(|| format!("{device} is in no port"))?;
        Ok((format!("port{number}"), ports[number].segment))
    }
}
