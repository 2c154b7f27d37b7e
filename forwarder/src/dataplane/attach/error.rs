//! What stands against attaching, and what to do about it.

use std::io;

use thiserror::Error;

use super::choice::SINGLE_BUFFER_MTU;
use super::host::HostError;
use super::{Facts, is_ours};
use crate::dataplane::bpf::load::LoadError;
use crate::dataplane::pin::PinError;
use crate::io::netlink::XdpAttachment;

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
        "{device} already has an XDP program ({}id {program}, {mode}), which stays\n  \
         see what it is:  bpftool prog show id {program}\n  \
         take it off:     ip link set dev {device} xdp off{}",
        .name.as_ref().map(|name| format!("\"{name}\", ")).unwrap_or_default(),
        whose(.name.as_deref())
    )]
    ForeignProgram {
        /// The interface.
        device: String,
        /// The program's id.
        program: u32,
        /// Its name, if that may be known.
        name: Option<String>,
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
    /// Several interfaces cannot be used.
    #[error("{}", one_a_line(.0))]
    Several(Vec<AttachError>),
    /// The attachment cannot be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Facts about the host stand against it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl AttachError {
    /// The interface's MTU is beyond what fits into one buffer.
    pub fn mtu_too_big(facts: &Facts) -> Self {
        Self::MtuTooBig {
            device: facts.link.name.clone(),
            mtu: facts.link.mtu,
            driver: facts.driver.clone(),
            limit: SINGLE_BUFFER_MTU,
        }
    }
}

fn suggestion(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; the host has {}", names.join(", "))
    }
}

/// A program with one of our names is most likely that of another daemon.
fn whose(name: Option<&str>) -> &'static str {
    match name {
        Some(name) if is_ours(name) => {
            "\n  it looks like another daemon's: does one run with another --socket?\n  \
             or has one been run with --pin?  forwarder run --pin, or forwarder uninstall"
        }
        _ => "",
    }
}

fn one_a_line(errors: &[AttachError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nerror: ")
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
