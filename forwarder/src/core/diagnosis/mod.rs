//! What to do about one packet: from what a trace found to steps for a person, most with a command to
//! type. What holds for a reason whatever the packet is in [`Reason::next`].

mod dropped;
mod forwarded;
mod passed;

pub use dropped::admission;

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use forwarder_common::{Mode, Outcome, Reason};

use super::facts::LinkState;
use super::health::Status;
use crate::config::Model;
use crate::config::model::{Backend, BackendState, Interface, VirtualServer};
use crate::packet::Packet;

/// Everything a diagnosis looks at.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// What is at work.
    pub model: &'a Model,
    /// Where the packet came in.
    pub interface: &'a Interface,
    /// Whether packets get through the device.
    pub link: LinkState,
    /// How the data plane is attached there; `None`: it is not.
    pub xdp: Option<String>,
    /// Why not.
    pub not_attached: Option<&'a str>,
    /// Own addresses of the host's interfaces.
    pub own: &'a [IpAddr],
    /// The packet, if it can be put in words.
    pub packet: Option<&'a Packet>,
    /// What is wrong with its bytes.
    pub problems: &'a [String],
    /// What it ended in.
    pub reason: Reason,
    /// The virtual server that has it.
    pub server: Option<&'a VirtualServer>,
    /// The backends of its pool.
    pub members: &'a [Member<'a>],
    /// The one that was chosen.
    pub chosen: Option<&'a Member<'a>>,
    /// Bytes of the packet, and how many fit.
    pub mtu: Option<(u32, u64)>,
    /// The SNAT pool's name, addresses and ports, where one was asked.
    pub snat: Option<String>,
}

/// A backend of the pool.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// What the file says, with changes at run time.
    pub backend: &'a Backend,
    /// Status, and why; `None`: it is not checked.
    pub health: Option<(Status, String)>,
    /// How to ask by hand what its health check asks.
    pub ask: Option<String>,
    /// The way to it.
    pub hop: Hop,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// No interface leads there.
    None,
    /// By way of a neighbour.
    Neighbour {
        /// Egress device.
        device: String,
        /// Whether packets get through it.
        link: LinkState,
        /// The backend itself, or a router.
        address: IpAddr,
        /// MAC address, if it is known.
        mac: Option<String>,
        /// The kernel's word for what it knows of the neighbour.
        state: String,
        /// Largest packet that leaves there, bytes.
        mtu: u32,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is the matter.
    pub text: String,
    /// What to type.
    pub command: Option<String>,
}

impl Step {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            command: None,
        }
    }

    fn run(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..Self::new(text)
        }
    }
}

impl Member<'_> {
    /// Why it takes no new flows; `None`: it does.
    fn idle(&self) -> Option<String> {
        match (self.backend.state, &self.health) {
            (BackendState::Drained, _) => Some("drained".into()),
            (BackendState::Disabled, _) => Some("disabled".into()),
            (BackendState::Enabled, Some((Status::Down, why))) => Some(format!("down: {why}")),
            _ if self.backend.weight == 0 => Some("weight 0".into()),
            _ => None,
        }
    }

    /// What brings it back.
    fn remedy(&self) -> Option<String> {
        let name = &self.backend.name;
        match self.backend.state {
            BackendState::Drained | BackendState::Disabled => {
                Some(format!("forwarder pool enable {} {name}", self.pool))
            }
            BackendState::Enabled if matches!(&self.health, Some((Status::Down, _))) => Some(
                self.ask
                    .clone()
                    .unwrap_or_else(|| "forwarder history --kind health".into()),
            ),
            BackendState::Enabled | BackendState::Forced => {
                Some(format!("forwarder pool weight {} {name} 1", self.pool))
            }
        }
    }
}

/// Name, state, health and the way there.
impl Display for Member<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Backend {
            name,
            address,
            port,
            state,
            ..
        } = self.backend;
        f.write_str(name)?;
        let end = port.map_or_else(
            || address.to_string(),
            |port| std::net::SocketAddr::new(*address, port.into()).to_string(),
        );
        if end != *name {
            write!(f, " ({end})")?;
        }
        match &self.health {
            Some((health, _)) => write!(f, ", {state}, {health}")?,
            None => write!(f, ", {state}, not checked")?,
        }
        match &self.hop {
            Hop::None => f.write_str("; no interface leads there"),
            Hop::Neighbour {
                device,
                address: hop,
                mac,
                state,
                mtu,
                ..
            } => {
                let hop = if hop == address {
                    String::new()
                } else {
                    format!("by way of {hop} ")
                };
                let mac = mac.as_deref().unwrap_or("MAC address not known");
                write!(f, "; {hop}on {device}, {mac} ({state}), MTU {mtu}")
            }
        }
    }
}

/// How many backends take new flows, and what keeps the others from it.
pub fn pool(members: &[Member<'_>]) -> String {
    const NAMED: usize = 5;
    let idle: Vec<_> = members
        .iter()
        .filter_map(|member| Some(format!("{} {}", member.backend.name, member.idle()?)))
        .collect();
    let (take, all) = (members.len() - idle.len(), members.len());
    let mut text = format!("{take} of {all} backends take new flows");
    for (at, why) in idle.iter().take(NAMED).enumerate() {
        text += if at == 0 { "; " } else { ", " };
        text += why;
    }
    if idle.len() > NAMED {
        text += &format!(" and {} more", idle.len() - NAMED);
    }
    text
}

/// What to do, the most pressing first. Never empty.
pub fn steps(scene: &Scene<'_>) -> Vec<Step> {
    let mut steps = interface(scene);
    for problem in scene.problems {
        // A sender's own card fills transport checksums in, after the capture.
        let unless = if problem.ends_with("checksum is wrong") && !problem.contains("header") {
            " (unless it was captured on its sender, which leaves that to the card)"
        } else {
            ""
        };
        let text = format!("{problem}, so nobody will accept the packet{unless}; who sends it?");
        steps.push(Step::run(text, scene.capture("", " -vvv")));
    }
    let particular = match scene.reason.outcome() {
        Outcome::Pass => passed::steps(scene),
        Outcome::Forward | Outcome::Answer => forwarded::steps(scene),
        Outcome::Drop => dropped::steps(scene),
    };
    steps.extend(particular);
    if steps.is_empty() {
        steps.push(Step::new(scene.reason.next()));
    }
    steps
}

/// Why no packet gets through a device, and the command to type.
fn trouble(device: &str, state: LinkState) -> Option<(&'static str, String)> {
    match state {
        LinkState::Up => None,
        LinkState::NoCarrier => Some((
            "has no carrier (is the cable in, and the switch's port up?)",
            format!("ethtool {device}"),
        )),
        LinkState::Down => Some(("is down", format!("ip link set {device} up"))),
    }
}

/// What keeps packets from leaving for the chosen backend.
fn way_out(scene: &Scene<'_>) -> Option<Step> {
    let member = scene.chosen?;
    let Hop::Neighbour { device, link, .. } = &member.hop else {
        return None;
    };
    let (what, command) = trouble(device, *link)?;
    let text = format!("{device}, the way to {}, {what}", member.backend.name);
    Some(Step::run(text, command))
}

/// What keeps the interface from working at all.
fn interface(scene: &Scene<'_>) -> Vec<Step> {
    let device = &scene.interface.device;
    if let Some((what, command)) = trouble(device, scene.link) {
        let text = format!("{device} {what}: no packet comes in or leaves by it");
        return vec![Step::run(text, command)];
    }
    match scene.xdp.as_deref() {
        None => {
            let why = scene.not_attached.map(|why| format!(": {why}"));
            let text = format!(
                "the data plane is not attached to {device}, so the host gets every packet{}",
                why.unwrap_or_default()
            );
            vec![Step::run(
                text,
                format!("ip -details link show dev {device}"),
            )]
        }
        Some("generic") => {
            let text = format!(
                "XDP is in generic mode on {device}, several times slower than in the driver; which driver is it?"
            );
            vec![Step::run(text, format!("ethtool -i {device}"))]
        }
        Some(_) => Vec::new(),
    }
}

impl Scene<'_> {
    /// The length of what would be sent to a backend.
    pub fn bytes(&self, bytes: u32) -> String {
        let mode = self.server.map(|server| server.action.mode());
        match mode {
            Some(Mode::IpipDsr | Mode::GueDsr) => format!("{bytes} bytes with the outer header"),
            _ => format!("{bytes} bytes"),
        }
    }

    /// The command that shows such packets on the wire; `filter` narrows it down.
    fn capture(&self, filter: &str, options: &str) -> String {
        let device = &self.interface.device;
        let host = self.packet.map(|packet| format!("host {}", packet.source));
        let parts = [host.as_deref().unwrap_or_default(), filter];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let parts = parts.join(" and ");
        let filter = if parts.is_empty() {
            String::new()
        } else {
            format!(" '{parts}'")
        };
        format!("tcpdump -e -ni {device}{options}{filter}")
    }

    /// The command that traces another packet at this interface.
    fn trace(&self, packet: &Packet) -> String {
        trace(packet, &self.interface.device)
    }
}

fn trace(packet: &Packet, device: &str) -> String {
    format!("forwarder trace \"{packet} --in {device}\"")
}

/// "b1", or "the backend".
fn backend<'a>(scene: &'a Scene<'_>) -> &'a str {
    scene
        .chosen
        .map_or("the backend", |member| member.backend.name.as_str())
}
