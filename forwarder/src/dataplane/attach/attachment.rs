//! One attachment.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::ProgramError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use forwarder_common::programs::ProgramSet;
use log::warn;
use serde::Serialize;

use super::{AttachError, Choice, Facts};
use crate::dataplane::bpf::load;
use crate::dataplane::pin::{PinDirectory, PinError, unlink};
use crate::io::netlink::{Link, Netlink, XdpAttachment};

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

impl Display for Attached {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            driver,
            mode,
            ..
        } = self;
        let frags = if self.frags {
            ", frames of several buffers"
        } else {
            ""
        };
        write!(f, "{device}: attached, {mode}{frags}, driver {driver}")
    }
}

/// An attached program. Dropping it detaches, unless the link is pinned.
#[derive(Debug)]
pub struct Attachment {
    link: FdLink,
    program: u32,
    /// The link's pin.
    pin: Option<PathBuf>,
    /// Whether the link was there before.
    adopted: bool,
    attached: Attached,
}

impl Attachment {
    /// Attaches the packet path as chosen; where the driver turns out to have no native XDP, generic
    /// if that is allowed. The program sets must be loaded.
    pub fn packet_path(
        ebpf: &mut Ebpf,
        netlink: &mut Netlink,
        facts: &Facts,
        choice: Choice,
        pins: Option<&PinDirectory>,
    ) -> Result<Self, AttachError> {
        let set = if choice.frags {
            ProgramSet::Frags
        } else {
            ProgramSet::Linear
        };
        match Self::attach(ebpf, set.entry(), netlink, facts, choice.native, pins) {
            Err(AttachError::Refused { source, .. })
                if choice.may_fall_back && source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                let entry = ProgramSet::Linear.entry();
                Self::attach(ebpf, entry, netlink, facts, false, pins)
            }
            other => other,
        }
    }

    /// Attaches a loaded program, in the driver or generic: through the pinned link if there is one, so
    /// that the interface is never without a program. On failure nothing has changed.
    pub fn attach(
        ebpf: &mut Ebpf,
        name: &str,
        netlink: &mut Netlink,
        facts: &Facts,
        native: bool,
        pins: Option<&PinDirectory>,
    ) -> Result<Self, AttachError> {
        let ifindex = facts.link.ifindex;
        let wanted = pins.map(|pins| pins.link(ifindex));
        let old = match pins {
            Some(pins) => pinned_link(pins, facts)?,
            None => None,
        };
        let program = load::program(ebpf, name)?;
        let mode = match native {
            true => (XdpMode::Driver, XdpAttachment::Native),
            false => (XdpMode::Skb, XdpAttachment::Generic),
        };
        let adopted = match &old {
            Some(old) if facts.link.xdp.map(|(mode, _)| mode) == Some(mode.1) => Some(old),
            Some(other_mode) => {
                // A link keeps its mode; this one has to go first.
                unlink(&other_mode.path)?;
                None
            }
            None => None,
        };
        let link = match adopted {
            Some(old) => PinnedLink::from_pin(&old.path)
                .map_err(io::Error::other)
                .and_then(|link| XdpLink::try_from(FdLink::from(link)).map_err(io::Error::other))
                .map_err(ProgramError::IOError)
                .and_then(|link| program.attach_to_link(link)),
            None => program.attach_to_if_index(ifindex, mode.0),
        };
        let link = link
            .and_then(|id| program.take_link(id))
            .and_then(|link| {
                FdLink::try_from(link)
                    .map_err(|error| ProgramError::IOError(io::Error::other(error)))
            })
            .map_err(|error| refused(facts, error))?;
        let link = match (wanted.as_deref(), adopted) {
            (Some(wanted), Some(old)) if old.path == wanted => link,
            (Some(wanted), old) => {
                let link = pin(link, wanted)?;
                if let Some(old) = old {
                    unlink(&old.path)?;
                }
                link
            }
            (None, _) => link,
        };
        let device = facts.link.name.clone();
        let now = netlink.link(&device).map_err(AttachError::Netlink)?;
        let Some(Link {
            xdp: Some((mode, program)),
            ..
        }) = now
        else {
            return Err(AttachError::Vanished { device });
        };
        let attached = Attached {
            device,
            ifindex,
            driver: facts.driver.clone(),
            mode,
            frags: name == ProgramSet::Frags.entry(),
        };
        Ok(Self {
            link,
            program,
            pin: wanted,
            adopted: adopted.is_some(),
            attached,
        })
    }

    /// What it came to.
    pub fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Whether the interface still runs the program.
    pub fn holds(&self, link: &Link) -> bool {
        link.ifindex == self.attached.ifindex
            && link.xdp.is_some_and(|(_, program)| program == self.program)
    }

    /// The link's pin.
    pub fn pin(&self) -> Option<&Path> {
        self.pin.as_deref()
    }

    /// Whether the link's pin is there, if it has one.
    pub fn is_pinned(&self) -> bool {
        self.pin.as_ref().is_none_or(|path| path.exists())
    }

    /// Pins the link again if its pin is gone.
    pub fn pin_again(self) -> Result<Self, AttachError> {
        match &self.pin {
            Some(path) if !path.exists() => {
                warn!("{}: the pin was removed: pinned again", path.display());
                let link = pin(self.link, path)?;
                Ok(Self { link, ..self })
            }
            _ => Ok(self),
        }
    }

    /// Takes the program off.
    pub fn detach(self) {
        if let Some(path) = &self.pin
            && let Err(error) = unlink(path)
        {
            warn!("{}: stays attached: {error}", self.attached.device);
        }
    }

    /// Takes the program off unless some program was there before: that forwards on.
    pub fn undo(self) {
        if !self.adopted {
            self.detach();
        }
    }
}

/// The pinned link that holds the interface, if one does.
fn pinned_link(
    pins: &PinDirectory,
    facts: &Facts,
) -> Result<Option<crate::dataplane::pin::Link>, AttachError> {
    let Some((_, program)) = facts.link.xdp else {
        return Ok(None);
    };
    let mut links = pins.links()?.into_iter();
    Ok(links.find(|link| link.ifindex == facts.link.ifindex && link.program == program))
}

/// Pins a link. What else is at that place held an interface that is gone.
fn pin(link: FdLink, path: &Path) -> Result<FdLink, AttachError> {
    unlink(path)?;
    let pinned = link.pin(path).map_err(|error| PinError::aya(path, error))?;
    Ok(pinned.into())
}

fn refused(facts: &Facts, error: ProgramError) -> AttachError {
    let device = facts.link.name.clone();
    let driver = facts.driver.clone();
    let source = match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    };
    match source.raw_os_error() {
        Some(libc::ERANGE | libc::E2BIG) => AttachError::mtu_too_big(facts),
        Some(libc::EOPNOTSUPP) if !facts.allow_generic => AttachError::NoNative { device, driver },
        _ => AttachError::Refused {
            device,
            driver,
            source,
        },
    }
}
