//! Attaching to interfaces: facts first, then a choice, then the attachment, and what it came to.

mod attachment;
mod choice;
mod error;
mod ethtool;
mod features;
pub mod host;

pub use attachment::{Attached, Attachment};
pub use choice::{Choice, Facts, choose};
pub use error::AttachError;
pub use ethtool::driver;
pub use features::Features;

use crate::io::netlink::Netlink;

/// An interface that the data plane is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kernel's name.
    pub device: String,
    /// Whether generic XDP will do where the driver has no native XDP.
    pub allow_generic: bool,
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
