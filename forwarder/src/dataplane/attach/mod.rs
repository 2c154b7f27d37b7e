//! Attaching to interfaces: facts first, then a choice, then the attachment, and what it came to.

mod attachment;
mod choice;
mod error;
mod features;
pub mod host;

pub use attachment::{Attached, Attachment};
pub use choice::{Choice, Facts, choose};
pub use error::AttachError;
pub use features::{Features, Query};

use aya::programs::loaded_programs;
use forwarder_common::programs::ProgramSet;

use crate::dataplane::pin;
use crate::io::ethtool;
use crate::io::netlink::{Link, Netlink};

/// An interface that the data plane is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kernel's name.
    pub device: String,
    /// Whether generic XDP will do where the driver has no native XDP.
    pub allow_generic: bool,
    /// Whether it may be missing: it is taken in once it is there.
    pub may_be_missing: bool,
}

/// Reads the facts of every target and chooses for each. Touches nothing; what stands against any
/// of them is said of all. `ours`: the pinned links, whose programs may be replaced.
pub fn examine(
    netlink: &mut Netlink,
    targets: &[Target],
    ours: &[pin::Link],
) -> Result<Vec<(Facts, Choice)>, AttachError> {
    let links = netlink.links().map_err(AttachError::Netlink)?;
    let mut features = Query::open();
    let mut chosen = Vec::new();
    let mut errors = Vec::new();
    let there = |device: &str| links.iter().any(|link| link.name == device);
    let wanted = targets.iter();
    let wanted = wanted.filter(|target| !target.may_be_missing || there(&target.device));
    for target in wanted {
        match examine_one(target, &links, features.as_mut(), ours) {
            Ok(choice) => chosen.push(choice),
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        0 => Ok(chosen),
        1 => Err(errors.remove(0)),
        _ => Err(AttachError::Several(errors)),
    }
}

fn examine_one(
    target: &Target,
    links: &[Link],
    features: Option<&mut Query>,
    ours: &[pin::Link],
) -> Result<(Facts, Choice), AttachError> {
    let Some(link) = links.iter().find(|link| link.name == target.device) else {
        let names = links.iter().map(|link| link.name.clone());
        return Err(AttachError::NoInterface {
            device: target.device.clone(),
            like: names.take(16).collect(),
        });
    };
    let facts = Facts {
        link: link.clone(),
        driver: ethtool::driver(&link.name).unwrap_or_else(|| "unknown driver".into()),
        features: features.and_then(|query| query.of(link.ifindex)),
        program: link.xdp.and_then(|(_, id)| program_name(id)),
        allow_generic: target.allow_generic,
        ours: ours.iter().any(|pinned| {
            let program = link.xdp.map(|(_, program)| program);
            pinned.ifindex == link.ifindex && Some(pinned.program) == program
        }),
    };
    let choice = choose(&facts)?;
    Ok((facts, choice))
}

/// The name of a loaded program; `None` where this process may not look (CAP_SYS_ADMIN).
pub fn program_name(id: u32) -> Option<String> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let found = programs.find(|program| program.id() == id)?;
    found.name_as_str().map(str::to_owned)
}

/// Whether a program of this name is the daemon's.
pub fn is_ours(name: &str) -> bool {
    let entries = [ProgramSet::Linear, ProgramSet::Frags].map(ProgramSet::entry);
    entries.contains(&name)
}
