//! `trace`: a packet through the loaded programs, the outcome in words.

mod stages;

use std::net::{IpAddr, SocketAddr};

use forwarder_common::{Outcome, Reason};

use super::{Node, drops};
use crate::admin::api::{Step, Trace, TraceRequest};
use crate::config::model::{Backend, HttpRequest, Interface, Pool, Probe, VirtualServer};
use crate::core::compile::BackendKey;
use crate::core::diagnosis::{self, Hop, Member, Scene};
use crate::core::facts::{Facts, LinkState};
use crate::core::key::mac_text;
use crate::core::next_hop::{attached, next_hop};
use crate::dataplane::bpf::drops::Dropped;
use crate::dataplane::bpf::trace::Traced;
use crate::packet::{self, Dissected};
use stages::Found;

/// No frame is longer.
const MAX_FRAME: u32 = 65_536 + 18;

/// Answers a request.
pub fn trace(node: &mut Node, request: &TraceRequest) -> Result<Trace, String> {
    let (asked, dropped) = match request.last_drop {
        true => Asked::last_drop(node, request)?,
        false => (Asked::read(request)?, None),
    };
    let facts = node.host.facts(&node.model);
    let interface = interface(node, &facts, &asked.interface)?.clone();
    let Some(device) = facts.devices.get(&interface.device) else {
        return Err(format!(
            "the host has no device {}; which are there?  ip link",
            interface.device
        ));
    };
    let (ifindex, mac) = (device.ifindex, device.mac);
    let (frame, dissected) = asked.frame(mac)?;
    let dropped = dropped.map(|dropped| (drops::describe(node, &facts, &dropped), dropped.reason));
    let traced = node.bpf.trace(&frame, ifindex);
    let traced = traced.map_err(|error| match &dropped {
        Some((dropped, _)) => format!(
            "{}\n  dropped {} s ago as {}, and cannot be traced: {error}",
            dropped.packet, dropped.seconds_ago, dropped.reason
        ),
        None => error.to_string(),
    })?;
    let Some(reason) = Reason::ALL.get(traced.reason as usize).copied() else {
        let reason = traced.reason;
        return Err(format!("the data plane gave an unknown reason ({reason})"));
    };
    let outlook = Outlook {
        node,
        facts: &facts,
        interface: &interface,
    };
    let mut trace = outlook.answer(&dissected, &traced, reason);
    if let Some((dropped, then)) = dropped {
        let ago = format!("{} s", dropped.seconds_ago);
        trace
            .next
            .splice(0..0, drops::difference(then, reason, &ago));
        trace.dropped = Some(dropped);
    }
    Ok(trace)
}

/// What a request asks for.
struct Asked {
    interface: String,
    what: What,
}

enum What {
    Packet(packet::Packet),
    /// Its beginning, and its length if that is more.
    Frame(Vec<u8>, usize),
}

impl Asked {
    /// The packet that was dropped last, as it came in.
    fn last_drop(node: &Node, request: &TraceRequest) -> Result<(Self, Option<Dropped>), String> {
        if request.packet.is_some() || request.frame.is_some() || request.interface.is_some() {
            return Err("the last drop has its own packet and interface".into());
        }
        let dropped = drops::last(node, request.reason.as_deref())?;
        let interface = node.host.device(dropped.ifindex).ok_or_else(|| {
            let reason = dropped.reason.name();
            format!("the interface of the packet that was dropped last ({reason}) is gone")
        })?;
        let asked = Self {
            interface: interface.to_owned(),
            what: What::Frame(dropped.frame.clone(), dropped.length as usize),
        };
        Ok((asked, Some(dropped)))
    }

    fn read(request: &TraceRequest) -> Result<Self, String> {
        if request.reason.is_some() {
            return Err("a reason goes with last_drop".into());
        }
        let (what, said) = match (&request.packet, &request.frame) {
            (Some(words), None) => {
                let (packet, interface) =
                    packet::parse(words).map_err(|error| error.to_string())?;
                (What::Packet(packet), interface)
            }
            (None, Some(hex)) => {
                let length = request.length.unwrap_or(0).min(MAX_FRAME);
                (What::Frame(bytes(hex)?, length as usize), None)
            }
            _ => return Err("either a packet in words or a frame, please".into()),
        };
        let interface = match (said, request.interface.clone()) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!("the interface is given twice: {a} and {b}"));
            }
            (said, given) => said.or(given),
        };
        let missing = "which interface does it come in by?  --in INTERFACE";
        let interface = interface.ok_or(missing)?;
        Ok(Self { interface, what })
    }

    /// The frame, addressed to `mac` if nothing else is said, and what it is.
    fn frame(self, mac: [u8; 6]) -> Result<(Vec<u8>, Dissected), String> {
        let (mut frame, length) = match self.what {
            What::Packet(packet) => {
                let frame = packet::build(&packet, mac)?;
                return Ok((frame, packet.into()));
            }
            What::Frame(frame, length) => (frame, length),
        };
        match frame.first_chunk_mut::<6>() {
            Some(to) if *to == [0; 6] => *to = mac,
            _ => (),
        }
        let cut = length > frame.len();
        if cut {
            frame.resize(length, 0);
        }
        let mut dissected = packet::dissect(&frame, mac);
        if cut {
            // Nobody knows the checksum of what was not captured.
            dissected.problems.clear();
        }
        Ok((frame, dissected))
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<_>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or("the frame is not written in pairs of hexadecimal digits")?;
    Ok(digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect())
}

/// The interface of that name, of the file's or the kernel's.
fn interface<'a>(node: &'a Node, facts: &Facts, name: &str) -> Result<&'a Interface, String> {
    let interfaces = &node.model.interfaces;
    let mut named = interfaces
        .iter()
        .filter(|each| each.name == name || each.device == name);
    if let Some(interface) = named.next() {
        return Ok(interface);
    }
    let known: Vec<_> = interfaces
        .iter()
        .map(|each| format!("{} ({})", each.name, each.device))
        .collect();
    let known = known.join(", ");
    let there = facts.devices.contains_key(name) || node.host.has(name);
    Err(if there {
        format!(
            "{name} is not an interface of the config, so the host gets every packet that comes in there; \
             it has {known}\n  to have it forward, add an [[interface]] with device = \"{name}\", then:  forwarder reload"
        )
    } else {
        format!("there is no interface {name}; the config has {known}")
    })
}

/// All that a trace is explained with.
struct Outlook<'a> {
    node: &'a Node,
    facts: &'a Facts,
    interface: &'a Interface,
}

impl<'a> Outlook<'a> {
    fn answer(&self, packet: &Dissected, traced: &Traced, reason: Reason) -> Trace {
        let found = Found::of(self, traced);
        let members = found.pool.map_or_else(Vec::new, |pool| self.members(pool));
        let chosen = found.backend.as_ref().and_then(|key| {
            members
                .iter()
                .find(|member| BackendKey::new(member.pool, member.backend) == *key)
        });
        let own: Vec<IpAddr> = self
            .facts
            .devices
            .values()
            .flat_map(|device| &device.addresses)
            .map(|own| own.address)
            .collect();
        let device = &self.interface.device;
        let scene = Scene {
            model: &self.node.model,
            interface: self.interface,
            link: self
                .facts
                .devices
                .get(device)
                .map_or(LinkState::Down, |device| device.state),
            xdp: self.xdp(),
            not_attached: self.node.not_attached.get(device).map(String::as_str),
            own: &own,
            packet: packet.packet.as_ref(),
            problems: &packet.problems,
            reason,
            server: found.server,
            members: &members,
            chosen,
            mtu: found.mtu,
            snat: self.snat(found.server),
        };
        let stages = stages::describe(self, &scene, traced);
        let steps = diagnosis::steps(&scene).into_iter();
        Trace {
            interface: self.interface.name.clone(),
            packet: packet.text.clone(),
            dropped: None,
            stages,
            virtual_server: found.server.map(|server| server.name.clone()),
            pool: found.pool.map(|pool| pool.name.clone()),
            backend: chosen.map(|member| member.backend.name.clone()),
            device: found.device.map(|ifindex| self.device(ifindex)),
            becomes: self.becomes(reason, traced),
            outcome: reason.outcome().name().to_owned(),
            reason: reason.name().to_owned(),
            meaning: reason.meaning().to_owned(),
            next: steps
                .map(|step| Step {
                    text: step.text,
                    command: step.command,
                })
                .collect(),
        }
    }

    fn xdp(&self) -> Option<String> {
        let mut attached = self.node.bpf.attached();
        let attached = attached.find(|each| each.device == self.interface.device)?;
        Some(attached.mode.to_string())
    }

    fn device(&self, ifindex: u32) -> String {
        self.node.host.device(ifindex).unwrap_or("?").to_owned()
    }

    /// What leaves. Its MAC addresses are said where it is sent to somebody.
    fn becomes(&self, reason: Reason, traced: &Traced) -> Option<String> {
        if reason.outcome() == Outcome::Drop {
            return None;
        }
        let own = self.facts.devices.get(&self.interface.device);
        let own = own.map_or([0; 6], |device| device.mac);
        let to = traced.frame.first_chunk().copied().unwrap_or_default();
        Some(match reason.outcome() {
            Outcome::Pass => packet::dissect(&traced.frame, own).text,
            _ => format!(
                "{}, to {}",
                packet::dissect(&traced.frame, to).text,
                mac_text(to)
            ),
        })
    }

    /// The backends of a pool.
    fn members(&self, pool: &'a Pool) -> Vec<Member<'a>> {
        let member = |backend: &'a Backend| {
            let known = self.node.checks.of(&BackendKey::new(&pool.name, backend));
            Member {
                pool: &pool.name,
                backend,
                health: known.map(|health| (health.status(), health.why().to_owned())),
                ask: self.ask(backend),
                hop: self.hop(backend),
            }
        };
        pool.backends.iter().map(member).collect()
    }

    /// How to ask a backend by hand what its health check asks.
    fn ask(&self, backend: &Backend) -> Option<String> {
        let asked = backend.check.as_ref()?;
        let check = self.node.model.health_check(&asked.health_check)?;
        if let Some(service) = asked.tunnelled.first() {
            // No other program here asks through the tunnel: what the check sends and gets is to be seen.
            let (end, vip) = (asked.address, service.vip);
            return Some(format!("tcpdump -ni any dst {end} or src {vip}"));
        }
        let port = asked.port.map_or(0, u16::from);
        let to = SocketAddr::new(asked.address, port);
        let get = |scheme: &str, request: &HttpRequest| {
            let host = request.host.as_ref();
            let host = host.map_or_else(String::new, |host| format!("-H 'Host: {host}' "));
            format!("curl -v {host}{scheme}://{to}{}", request.path)
        };
        Some(match &check.probe {
            Probe::Tcp { .. } => format!("nc -vz {} {port}", asked.address),
            Probe::Udp { .. } => format!("nc -vzu {} {port}", asked.address),
            Probe::Icmp => format!("ping -c 3 {}", asked.address),
            Probe::Http(request) => get("http", request),
            Probe::Https { request, .. } => get("https", request),
        })
    }

    fn hop(&self, backend: &Backend) -> Hop {
        let interfaces = attached(&self.node.model, self.facts);
        let Some(hop) = next_hop(&interfaces, self.facts, backend) else {
            return Hop::None;
        };
        let device = hop.interface.device;
        let (mac, state) = self
            .node
            .host
            .known_neighbour(device.ifindex, hop.neighbour);
        Hop::Neighbour {
            device: hop.interface.config.device.clone(),
            link: device.state,
            address: hop.neighbour,
            mac: mac.map(mac_text),
            state,
            mtu: device.mtu,
        }
    }

    /// Where a virtual server's source addresses come from.
    fn snat(&self, server: Option<&VirtualServer>) -> Option<String> {
        use crate::config::model::Snat;
        let model = &self.node.model;
        Some(match server?.action.snat()? {
            Snat::Automap => format!(
                "SNAT by automap, ports {} ([automap] ports)",
                model.automap_ports.own
            ),
            Snat::Pool(name) => {
                let pool = model.snat_pool(name)?;
                format!(
                    "SNAT pool {name}, addresses: {}, ports {}",
                    pool.addresses.len(),
                    pool.ports.own
                )
            }
        })
    }
}
