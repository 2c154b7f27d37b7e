//! What happened, as far back as there is room.

use std::collections::VecDeque;
use std::time::Duration;

use super::pair::record::Turn;

/// Events that are kept; older ones are forgotten.
pub const KEPT: usize = 1_000;
/// Characters of an event's text that are kept.
const LONGEST: usize = 300;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The daemon started, or its configuration changed or was refused.
    Config,
    /// A change at run time, or its end.
    Override,
    /// A backend's health changed.
    Health,
    /// The data plane was attached to an interface, or detached.
    Interface,
    /// This node became active, standby, or hands over.
    Role,
    /// Something stopped working, or works again.
    Problem,
}

impl Kind {
    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Override => "override",
            Kind::Health => "health",
            Kind::Interface => "interface",
            Kind::Role => "role",
            Kind::Problem => "problem",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up from 1 since the daemon started.
    pub number: u64,
    /// Since 1970-01-01 UTC, for people.
    pub at: Duration,
    /// What kind.
    pub kind: Kind,
    /// What it is about.
    pub subject: String,
    /// What happened, and why.
    pub text: String,
    /// The same of a change of role, for programs.
    pub turn: Option<Turn>,
}

/// The latest events.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    last: u64,
}

impl History {
    /// Takes in an event.
    pub fn push(&mut self, at: Duration, kind: Kind, subject: impl Into<String>, text: &str) {
        self.keep(at, kind, subject.into(), text, None);
    }

    /// Takes in a change of role.
    pub fn push_turn(&mut self, at: Duration, subject: impl Into<String>, turn: Turn) {
        let text = turn.to_string();
        self.keep(at, Kind::Role, subject.into(), &text, Some(turn));
    }

    fn keep(&mut self, at: Duration, kind: Kind, subject: String, text: &str, turn: Option<Turn>) {
        self.last += 1;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            number: self.last,
            at,
            kind,
            subject,
            text: text.chars().take(LONGEST).collect(),
            turn,
        });
    }

    /// The events that are kept, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_counts_on() {
        let mut history = History::default();
        let long = "x".repeat(10_000);
        for second in 0..3_000 {
            history.push(Duration::from_secs(second), Kind::Health, "b", &long);
        }
        let events: Vec<&Event> = history.events().collect();
        assert_eq!((events.len(), events[0].number), (KEPT, 2_001));
        assert_eq!(events[KEPT - 1].at, Duration::from_secs(2_999));
        assert!(events.iter().all(|event| event.text.len() <= LONGEST));
    }
}
