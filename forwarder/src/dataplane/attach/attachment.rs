//! One attachment.

use std::fmt::{self, Display, Formatter};
use std::io;

use aya::Ebpf;
use aya::programs::ProgramError;
use aya::programs::xdp::{XdpLink, XdpMode};
use forwarder_common::programs::ProgramSet;
use serde::Serialize;

use super::{AttachError, Choice, Facts};
use crate::dataplane::bpf::load;
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

/// An attached program; detached when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    _link: XdpLink,
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
    ) -> Result<Self, AttachError> {
        let set = if choice.frags {
            ProgramSet::Frags
        } else {
            ProgramSet::Linear
        };
        match Self::attach(ebpf, set.entry(), netlink, facts, choice.native) {
            Err(AttachError::Refused { source, .. })
                if choice.may_fall_back && source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                Self::attach(ebpf, ProgramSet::Linear.entry(), netlink, facts, false)
            }
            other => other,
        }
    }

    /// Attaches a loaded program, in the driver or generic. On failure nothing is left.
    pub fn attach(
        ebpf: &mut Ebpf,
        name: &str,
        netlink: &mut Netlink,
        facts: &Facts,
        native: bool,
    ) -> Result<Self, AttachError> {
        let mode = if native {
            XdpMode::Driver
        } else {
            XdpMode::Skb
        };
        let program = load::program(ebpf, name)?;
        let link = program
            .attach_to_if_index(facts.link.ifindex, mode)
            .and_then(|id| program.take_link(id))
            .map_err(|error| refused(facts, error))?;
        let device = facts.link.name.clone();
        let now = netlink.link(&device).map_err(AttachError::Netlink)?;
        let Some(Link {
            xdp: Some((mode, _)),
            ..
        }) = now
        else {
            return Err(AttachError::Vanished { device });
        };
        let attached = Attached {
            device,
            ifindex: facts.link.ifindex,
            driver: facts.driver.clone(),
            mode,
            frags: name == ProgramSet::Frags.entry(),
        };
        Ok(Self {
            _link: link,
            attached,
        })
    }

    /// What it came to.
    pub fn attached(&self) -> &Attached {
        &self.attached
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
        Some(libc::ERANGE | libc::E2BIG) => AttachError::mtu_too_big(facts),
        Some(libc::EOPNOTSUPP) if !facts.allow_generic => AttachError::NoNative { device, driver },
        _ => AttachError::Refused {
            device,
            driver,
            source,
        },
    }
}
