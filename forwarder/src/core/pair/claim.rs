//! What nodes tell each other about a group, and what comes of it.

use std::fmt::{self, Display, Formatter};

/// What a node does for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing; it watches.
    Standby,
    /// It forwards, answers for the VIPs, and has announced them.
    Active,
    /// It hands over: it forwards what still comes in, and answers for nothing.
    Releasing,
}

impl Role {
    /// Every role, in the order of the wire.
    pub const ALL: [Self; 3] = [Self::Standby, Self::Active, Self::Releasing];

    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Standby => "standby",
            Role::Active => "active",
            Role::Releasing => "releasing",
        }
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How well a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Every interface works.
    #[default]
    Sound,
    /// Some interface does not: the peer had better be active.
    Degraded,
    /// No interface works: nobody can reach it.
    Isolated,
}

impl Health {
    /// Every one, in the order of the wire.
    pub const ALL: [Self; 3] = [Self::Sound, Self::Degraded, Self::Isolated];

    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Health::Sound => "sound",
            Health::Degraded => "degraded",
            Health::Isolated => "isolated",
        }
    }
}

/// What a node says about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The group.
    pub group: u16,
    /// Its role there.
    pub role: Role,
    /// The highest epoch that it knows.
    pub epoch: u64,
    /// The epoch in which it was active last; 0: not since it was started.
    pub held: u64,
    /// Its priority.
    pub priority: u8,
    /// Whether it can be active: sound, and not in maintenance.
    pub able: bool,
    /// Whether the listener may take the group.
    pub offers: bool,
    /// Whether it would like to have the group.
    pub asks: bool,
}

/// Why a role changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The peer offered the group.
    Offered,
    /// The peer answers on no path.
    PeerLost,
    /// A hand-over begins.
    HandOver,
    /// A hand-over begins, though the peer was not told of all flows in time.
    HandOverUntold,
    /// The peer has taken the group.
    Taken,
    /// The peer did not take what it was offered.
    NotTaken,
    /// The peer is active with a higher epoch.
    PeerHasIt,
    /// Both were active; this one stays so.
    Healed,
    /// The lease was not renewed in time.
    LeaseRanOut,
    /// No interface works.
    Isolated,
    /// The peer is lost, and this node may not be active alone.
    NotAllowed,
    /// The peer is lost, and has taken what moves in the cloud.
    Overtaken,
    /// A reload made the group of virtual servers that this node carries.
    Regrouped,
    /// A reload has removed the group.
    Removed,
}

impl Cause {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Offered,
        Self::PeerLost,
        Self::HandOver,
        Self::HandOverUntold,
        Self::Taken,
        Self::NotTaken,
        Self::PeerHasIt,
        Self::Healed,
        Self::LeaseRanOut,
        Self::Isolated,
        Self::NotAllowed,
        Self::Overtaken,
        Self::Regrouped,
        Self::Removed,
    ];

    /// As programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Offered => "offered",
            Cause::PeerLost => "peer-lost",
            Cause::HandOver => "hand-over",
            Cause::HandOverUntold => "hand-over-untold",
            Cause::Taken => "taken",
            Cause::NotTaken => "not-taken",
            Cause::PeerHasIt => "peer-has-it",
            Cause::Healed => "healed",
            Cause::LeaseRanOut => "lease-ran-out",
            Cause::Isolated => "isolated",
            Cause::NotAllowed => "not-allowed",
            Cause::Overtaken => "overtaken",
            Cause::Regrouped => "regrouped",
            Cause::Removed => "removed",
        }
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Offered => "the peer offered it",
            Cause::PeerLost => "the peer answers on no path",
            Cause::HandOver => "handing over to the peer",
            Cause::HandOverUntold => {
                "handing over to the peer, which was not told of all flows in time: connections may break"
            }
            Cause::Taken => "the peer has taken it",
            Cause::NotTaken => "the peer did not take it",
            Cause::PeerHasIt => "the peer is active with a higher epoch",
            Cause::Healed => "stays so, announced again: the peer may have been active too",
            Cause::LeaseRanOut => "the lease was not renewed in time",
            Cause::Isolated => "no interface works",
            Cause::NotAllowed => {
                "the peer answers on no path, and this node may not be active alone"
            }
            Cause::Overtaken => {
                "the peer answers on no path, and has taken what moves in the cloud"
            }
            Cause::Regrouped => "a new group of what this node carries",
            Cause::Removed => "the group is gone from the configuration",
        })
    }
}

/// A role changed; or, with [`Cause::Healed`], it is to be announced again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The group.
    pub group: u16,
    /// The role now.
    pub role: Role,
    /// The epoch now.
    pub epoch: u64,
    /// Why.
    pub cause: Cause,
}
