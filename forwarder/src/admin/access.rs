//! Who may do what on the admin socket.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use thiserror::Error;

use super::routes::Ask;
use crate::config::model;
use crate::io::users;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Look, change, and see secrets.
    Write,
}

/// Who may do what, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The daemon's own user.
    user: u32,
    /// The group whose members may change things.
    writers: u32,
    /// The group whose members may look.
    readers: Option<u32>,
    /// Whether the configuration names groups.
    named: bool,
}

/// A group of the configuration cannot be had.
#[derive(Debug, Error)]
pub enum GroupError {
    /// There is none.
    #[error("there is no group \"{0}\" ([admin] in the configuration)")]
    Unknown(String),
    /// It cannot be looked up.
    #[error("group \"{name}\" cannot be looked up: {source}")]
    Lookup {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub user: u32,
    /// Every group that it is in.
    pub groups: BTreeSet<u32>,
}

impl Access {
    /// Looks the groups up.
    pub fn new(config: &model::Admin) -> Result<Self, GroupError> {
        let (user, own_group) = users::own();
        let group = |name: &Option<String>| name.as_deref().map(group).transpose();
        let writers = group(&config.group)?;
        let readers = group(&config.read_group)?;
        Ok(Self {
            user,
            writers: writers.unwrap_or(own_group),
            named: writers.is_some() || readers.is_some(),
            readers,
        })
    }

    /// Permissions of the socket's file. With groups named everybody may connect, and is asked who it is.
    pub fn mode(&self) -> u32 {
        if self.named { 0o666 } else { 0o660 }
    }

    /// What somebody may do.
    pub fn rights(&self, peer: &Peer) -> Rights {
        if peer.user == 0 || peer.user == self.user || peer.groups.contains(&self.writers) {
            Rights::Write
        } else if self
            .readers
            .is_some_and(|group| peer.groups.contains(&group))
        {
            Rights::Read
        } else {
            Rights::None
        }
    }

    /// Why somebody may not do something; `None`: it may.
    pub fn refusal(&self, peer: &Peer, path: &str) -> Option<String> {
        let needed = needed(path);
        if self.rights(peer) >= needed {
            return None;
        }
        let user = peer.user;
        Some(match needed {
            Rights::Write if self.rights(peer) == Rights::Read => format!(
                "user {user} may look and not change: {path} is for root, the daemon's user, and members of group {} ([admin] group)",
                self.writers
            ),
            _ => format!(
                "user {user} may not ask the daemon anything: be root, the daemon's user, or in a group that [admin] in the configuration names"
            ),
        })
    }
}

impl Peer {
    /// Who is at the other end of a unix socket.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let (user, group) = users::peer(socket.as_fd())?;
        let mut groups: BTreeSet<u32> = users::peer_groups(socket.as_fd())?.into_iter().collect();
        groups.insert(group);
        Ok(Self { user, groups })
    }
}

/// What it takes to ask for a path.
fn needed(path: &str) -> Rights {
    Ask::at(path).map_or(Rights::Read, |ask| ask.route().rights)
}

fn group(name: &str) -> Result<u32, GroupError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match users::group(name) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(GroupError::Unknown(name.to_owned())),
        Err(source) => Err(GroupError::Lookup {
            name: name.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_users_decide() {
        let access = Access {
            user: 100,
            writers: 200,
            readers: Some(300),
            named: true,
        };
        let peer = |user, groups: &[u32]| Peer {
            user,
            groups: groups.iter().copied().collect(),
        };
        for (peer, rights) in [
            (peer(0, &[5]), Rights::Write),
            (peer(100, &[5]), Rights::Write),
            (peer(7, &[5, 200]), Rights::Write),
            (peer(7, &[200, 300]), Rights::Write),
            (peer(7, &[5, 300]), Rights::Read),
            (peer(7, &[5, 100]), Rights::None),
        ] {
            assert_eq!(access.rights(&peer), rights, "{peer:?}");
            let refused = |path| access.refusal(&peer, path).is_some();
            assert_eq!(refused("/v1/status"), rights == Rights::None);
            for path in ["/v1/reload", "/v1/override", "/v1/pair", "/v1/config"] {
                assert_eq!(refused(path), rights != Rights::Write);
            }
        }
    }

    #[test]
    fn groups_are_numbers_or_names() {
        assert_eq!(group("4711").ok(), Some(4711));
        assert_eq!(group("root").ok(), Some(0));
        let error = group("no-such-group").expect_err("there is none");
        assert!(error.to_string().contains("no-such-group"), "{error}");
    }
}
