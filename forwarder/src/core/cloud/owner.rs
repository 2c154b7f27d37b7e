//! Whose a group's things are: what the active node makes of what it sees.
//!
//! The nodes may both believe that they are active, when they can't hear each other. The cloud knows better: a
//! thing is at one node at a time. Whoever took it last stays active, the other steps aside.

use std::time::Duration;

use super::Place;

/// Between two attempts to take what is not here.
pub const HOLD: Duration = Duration::from_secs(5);
/// What is elsewhere is so for certain when it is seen there for this long: answers may be old.
const CERTAIN: Duration = Duration::from_secs(2);
/// What was never seen here since it was taken may still come.
const SETTLE: Duration = Duration::from_secs(10);
/// What goes elsewhere so soon after it was taken may be the last call of a node that is dead by now, and is
/// taken once more.
const OVERTAKEN: Duration = Duration::from_secs(20);

/// What an active node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// It takes what is not here.
    Take,
    /// It steps aside.
    Yield,
}

/// What is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where the first thing of the group is.
    pub anchor: Place,
    /// Whether all the others are here.
    pub complete: bool,
    /// Whether the peer is heard.
    pub heard: bool,
    /// When it was asked.
    pub at: Duration,
}

/// A group of the active node.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// When this node became active.
    since: Duration,
    /// When the last call was answered.
    taken: Duration,
    /// Whether the first thing was seen here since.
    seen: bool,
    /// Since when it is seen elsewhere.
    elsewhere: Option<Duration>,
    /// Whether it was taken once more.
    insisted: bool,
}

impl Owner {
    /// The node has become active, and has taken everything.
    pub fn new(since: Duration, now: Duration) -> Self {
        Self {
            since,
            taken: now,
            ..Self::default()
        }
    }

    /// What was lacking was taken.
    pub fn took(&mut self, now: Duration) {
        self.taken = now;
        self.seen = false;
        self.elsewhere = None;
    }

    /// Whether to look again soon.
    pub fn is_uncertain(&self, now: Duration) -> bool {
        !self.seen || self.elsewhere.is_some() || now < self.since + OVERTAKEN
    }

    /// Takes in what is seen.
    pub fn look(&mut self, look: &Look) -> Verdict {
        if look.at < self.taken {
            return Verdict::Stay;
        }
        let pause = look.at >= self.taken + HOLD;
        match look.anchor {
            Place::Here => {
                self.seen = true;
                self.elsewhere = None;
                if look.complete || !pause {
                    Verdict::Stay
                } else {
                    Verdict::Take
                }
            }
            Place::Nowhere if pause => Verdict::Take,
            Place::Nowhere => Verdict::Stay,
            Place::Elsewhere(_) => {
                let since = *self.elsewhere.get_or_insert(look.at);
                let certain = if self.seen {
                    look.at >= since + CERTAIN
                } else {
                    look.at >= self.taken + SETTLE
                };
                match look.heard {
                    _ if !certain => Verdict::Stay,
                    // The peer says that it is standby: somebody else moved it.
                    true if pause => Verdict::Take,
                    true => Verdict::Stay,
                    false if !self.insisted && since < self.since + OVERTAKEN => {
                        self.insisted = true;
                        Verdict::Take
                    }
                    false => Verdict::Yield,
                }
            }
        }
    }
}
