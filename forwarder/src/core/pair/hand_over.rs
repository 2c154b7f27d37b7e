//! Whether an operator's wish to move the groups can be granted.

use std::fmt::{self, Display, Formatter};

use super::View;
use super::claim::{Health, Role};
use super::liveness::PathState;

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This one.
    Own,
    /// The other one.
    Peer,
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Own => "this node",
            Side::Peer => "the peer",
        })
    }
}

/// A wish that cannot be granted.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unable {
    /// It is so already.
    #[error("nothing to do: it is there already")]
    Already,
    /// Whether the peer would take part is not known.
    #[error("nothing is heard of the peer")]
    Unheard,
    /// The node that is to be active is kept from it.
    #[error("{0} is in maintenance")]
    Maintenance(Side),
    /// The node that is to be active has an interface that does not work.
    #[error("{0} is {word}", word = .1.word())]
    Unwell(Side, Health),
}

/// Whether a group can be moved here, or to the peer; `None`: every one.
pub fn check(view: &View, only: Option<u16>, here: bool) -> Result<(), Unable> {
    let wanted = if here { Role::Active } else { Role::Standby };
    let groups = view.groups.iter();
    let mut meant = groups.filter(|group| only.is_none_or(|only| only == group.id));
    if meant.all(|group| group.role == wanted) {
        return Err(Unable::Already);
    }
    if here && view.waits {
        // The operator knows more than the node.
        return Ok(());
    }
    let answers = view.paths.iter().any(|path| path.state != PathState::Down);
    let (Some(peer), true) = (&view.peer, answers) else {
        return Err(Unable::Unheard);
    };
    let (side, health, maintenance) = match here {
        true => (Side::Own, view.health, view.maintenance),
        false => (Side::Peer, peer.health, peer.maintenance),
    };
    if maintenance {
        return Err(Unable::Maintenance(side));
    }
    match health {
        Health::Sound => Ok(()),
        health => Err(Unable::Unwell(side, health)),
    }
}
