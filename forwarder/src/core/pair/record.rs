//! Changes of role: what each of them took, and how many there were.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::claim::{Cause, Change};
use crate::core::histogram::Histogram;

/// A part of a change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the peer's last answer until it counted as lost.
    Detection,
    /// From the offer until the peer had taken the group, or had not.
    HandOver,
    /// From the event that led to it until it was decided.
    Decision,
    /// From then on until the data plane knew.
    Lease,
    /// From then on until every VIP was announced.
    Announcement,
}

impl Phase {
    /// Every one, in order.
    pub const ALL: [Self; 5] = [
        Self::Detection,
        Self::HandOver,
        Self::Decision,
        Self::Lease,
        Self::Announcement,
    ];

    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Detection => "detection",
            Phase::HandOver => "hand-over",
            Phase::Decision => "decision",
            Phase::Lease => "lease",
            Phase::Announcement => "announcement",
        }
    }
}

/// A change of role, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The change.
    pub change: Change,
    /// How long its phases took; those that it did not have are not there.
    pub phases: BTreeMap<Phase, Duration>,
}

impl Display for Turn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Change {
            role, cause, epoch, ..
        } = self.change;
        write!(f, "{role}: {cause}, epoch {epoch}")?;
        for (at, (phase, took)) in self.phases.iter().enumerate() {
            let before = if at == 0 { "; " } else { ", " };
            let milliseconds = took.as_secs_f64() * 1e3;
            write!(f, "{before}{} {milliseconds:.1} ms", phase.word())?;
        }
        Ok(())
    }
}

/// All changes since the daemon started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    changes: BTreeMap<(u16, Cause), u64>,
    phases: BTreeMap<Phase, Histogram>,
}

impl Record {
    /// Takes in a change.
    pub fn add(&mut self, turn: &Turn) {
        let change = (turn.change.group, turn.change.cause);
        *self.changes.entry(change).or_default() += 1;
        for (phase, took) in &turn.phases {
            self.phases.entry(*phase).or_default().observe(*took);
        }
    }

    /// How many there were of a group's role for each cause.
    pub fn changes(&self, group: u16) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().map(move |cause| {
            let count = self.changes.get(&(group, cause));
            (cause, count.copied().unwrap_or(0))
        })
    }

    /// How long each phase took.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, Histogram)> {
        Phase::ALL
            .into_iter()
            .map(|phase| (phase, self.phases.get(&phase).cloned().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::claim::Role;
    use super::*;

    fn turn() -> Turn {
        Turn {
            change: Change {
                group: 0,
                role: Role::Active,
                epoch: 7,
                cause: Cause::PeerLost,
            },
            phases: BTreeMap::from([
                (Phase::Lease, Duration::from_micros(40)),
                (Phase::Detection, Duration::from_millis(151)),
            ]),
        }
    }

    #[test]
    fn a_change_tells_its_cause_and_what_it_took() {
        assert_eq!(
            turn().to_string(),
            "active: the peer answers on no path, epoch 7; detection 151.0 ms, lease 0.0 ms"
        );
    }

    #[test]
    fn counts_by_cause_and_keeps_every_phase() {
        let mut record = Record::default();
        record.add(&turn());
        record.add(&turn());
        assert!(record.changes(1).all(|(_, count)| count == 0));
        for (cause, count) in record.changes(0) {
            assert_eq!(count, if cause == Cause::PeerLost { 2 } else { 0 });
        }
        let counts: Vec<u64> = record.phases().map(|(_, times)| times.count()).collect();
        assert_eq!(counts, [2, 0, 0, 2, 0]);
    }
}
