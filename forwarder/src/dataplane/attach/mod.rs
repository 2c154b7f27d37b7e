//! Attaching to interfaces: facts first, then a choice, then the attachment, and what it came to.

mod choice;
mod ethtool;
mod features;
pub mod host;

use std::io;

use aya::Ebpf;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, XdpMode};
use forwarder_common::programs::ProgramSet;
use serde::Serialize;
use thiserror::Error;

use super::bpf::load::{self, LoadError};
use crate::io::netlink::{Link, Netlink, XdpAttachment};
pub use choice::{Choice, Facts, choose};
pub use ethtool::driver;
pub use features::Features;

/// An interface that the data plane is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kernel's name.
    pub device: String,
    /// Whether generic XDP will do where the driver has no native XDP.
    pub allow_generic: bool,
}

/// The data plane cannot be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// No such interface.
    #[error("there is no interface {device}{}", suggestion(.like))]
    NoInterface {
        /// Its name.
        device: String,
        /// Names that the host has.
        like: Vec<String>,
    },
    /// Not Ethernet.
    #[error("{device} is not an Ethernet interface")]
    NotEthernet {
        /// Its name.
        device: String,
    },
    /// Somebody else's program is there.
    #[error(
        "{device} already has an XDP program (id {program}, {mode:?}), which is not ours and stays\n  \
         see what it is:  bpftool prog show id {program}\n  \
         take it off:     ip link set dev {device} xdp off"
    )]
    ForeignProgram {
        /// The interface.
        device: String,
        /// The program's id.
        program: u32,
        /// How it is attached.
        mode: XdpAttachment,
    },
    /// Frames do not fit the driver's XDP buffers.
    #[error(
        "{device} has an MTU of {mtu}, and XDP in its driver ({driver}) takes at most about {limit}\n  \
         lower it:  ip link set dev {device} mtu {limit}"
    )]
    MtuTooBig {
        /// The interface.
        device: String,
        /// Its MTU.
        mtu: u32,
        /// Its driver.
        driver: String,
        /// The largest MTU that will do.
        limit: u32,
    },
    /// The driver has no native XDP.
    #[error(
        "{device}: its driver ({driver}) has no native XDP\n  \
         slower, but it works:  set `allow_generic = true` for this interface"
    )]
    NoNative {
        /// The interface.
        device: String,
        /// Its driver.
        driver: String,
    },
    /// The kernel refused.
    #[error("the kernel refuses to attach to {device} ({driver}): {source}{}", hint(.source))]
    Refused {
        /// The interface.
        device: String,
        /// Its driver.
        driver: String,
        /// What it said.
        source: io::Error,
    },
    /// The kernel could not be asked.
    #[error("interface facts cannot be read: {0}")]
    Netlink(#[source] io::Error),
    /// Attached, but the kernel does not say so.
    #[error("{device}: attached, but the kernel does not report a program")]
    Vanished {
        /// The interface.
        device: String,
    },
    /// The programs do not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Facts about the host stand against it.
    #[error(transparent)]
    Host(#[from] host::HostError),
}

fn suggestion(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; the host has {}", names.join(", "))
    }
}

/// What an errno of the attachment usually means.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => {
            "\n  the driver wants more queues (veth: at least as many receive queues as the peer has transmit queues)"
        }
        Some(libc::EBUSY) => "\n  another XDP program holds the interface",
        Some(libc::EPERM) => "\n  CAP_NET_ADMIN and CAP_BPF are needed",
        _ => "",
    }
}

/// How an interface is attached, as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// The kernel's name.
    pub device: String,
    /// Kernel's index.
    pub ifindex: u32,
    /// Driver's name.
    pub driver: String,
    /// Native, generic …
    pub mode: XdpAttachment,
    /// Whether frames of several buffers are handled.
    pub frags: bool,
}

/// Reads the facts of every target and chooses for each. Touches nothing.
pub fn examine(
    netlink: &mut Netlink,
    targets: &[Target],
) -> Result<Vec<(Facts, Choice)>, AttachError> {
    let links = netlink.links().map_err(AttachError::Netlink)?;
    let mut features = features::Query::open();
    targets
        .iter()
        .map(|target| {
            let Some(link) = links.iter().find(|link| link.name == target.device) else {
                let like = links
                    .iter()
                    .map(|link| link.name.clone())
                    .take(16)
                    .collect();
                return Err(AttachError::NoInterface {
                    device: target.device.clone(),
                    like,
                });
            };
            let facts = Facts {
                link: link.clone(),
                driver: driver(&link.name).unwrap_or_else(|| "unknown driver".into()),
                features: features.as_mut().and_then(|query| query.of(link.ifindex)),
                allow_generic: target.allow_generic,
            };
            let choice = choose(&facts)?;
            Ok((facts, choice))
        })
        .collect()
}

/// Attachments that are undone when this is dropped.
#[derive(Debug, Default)]
pub struct Attachments {
    links: Vec<(ProgramSet, XdpLinkId)>,
    /// What they came to.
    pub attached: Vec<Attached>,
}

impl Attachments {
    /// Attaches one interface. On failure nothing is left of it; earlier ones stay until
    /// [`Attachments::detach`], or until the programs are dropped.
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        netlink: &mut Netlink,
        facts: &Facts,
        choice: Choice,
    ) -> Result<&Attached, AttachError> {
        let (set, link) = match attach(ebpf, facts, choice) {
            Err(AttachError::Refused { source, .. })
                if choice.may_fall_back && source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                attach(
                    ebpf,
                    facts,
                    Choice {
                        native: false,
                        frags: false,
                        may_fall_back: false,
                    },
                )?
            }
            other => other?,
        };
        self.links.push((set, link));
        let device = &facts.link.name;
        let now = netlink.link(device).map_err(AttachError::Netlink)?;
        let Some(Link {
            xdp: Some((mode, _)),
            ..
        }) = now
        else {
            return Err(AttachError::Vanished {
                device: device.clone(),
            });
        };
        self.attached.push(Attached {
            device: device.clone(),
            ifindex: facts.link.ifindex,
            driver: facts.driver.clone(),
            mode,
            frags: set == ProgramSet::Frags,
        });
        Ok(&self.attached[self.attached.len() - 1])
    }

    /// Detaches every interface. An interface that is gone took its attachment along.
    pub fn detach(&mut self, ebpf: &mut Ebpf) {
        for (set, link) in self.links.drain(..) {
            if let Ok(program) = load::program(ebpf, set.entry()) {
                let _ = program.detach(link);
            }
        }
        self.attached.clear();
    }
}

fn attach(
    ebpf: &mut Ebpf,
    facts: &Facts,
    choice: Choice,
) -> Result<(ProgramSet, XdpLinkId), AttachError> {
    let set = if choice.frags {
        ProgramSet::Frags
    } else {
        ProgramSet::Linear
    };
    let mode = if choice.native {
        XdpMode::Driver
    } else {
        XdpMode::Skb
    };
    let program = load::program(ebpf, set.entry())?;
    match program.attach_to_if_index(facts.link.ifindex, mode) {
        Ok(link) => Ok((set, link)),
        Err(error) => Err(refused(facts, error)),
    }
}

fn refused(facts: &Facts, error: ProgramError) -> AttachError {
    let device = facts.link.name.clone();
    let driver = facts.driver.clone();
    let source = match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    };
    match source.raw_os_error() {
        Some(libc::ERANGE | libc::E2BIG) => AttachError::MtuTooBig {
            device,
            mtu: facts.link.mtu,
            driver,
            limit: choice::SINGLE_BUFFER_MTU,
        },
        Some(libc::EOPNOTSUPP) if !facts.allow_generic => AttachError::NoNative { device, driver },
        _ => AttachError::Refused {
            device,
            driver,
            source,
        },
    }
}
