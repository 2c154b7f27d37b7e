//! What works less than the file asks for, as it comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::compile::Note;

/// A note that is over sooner is nobody's concern: every next hop is unresolved at first.
const PATIENCE: Duration = Duration::from_secs(1);

/// The notes of the last pass.
#[derive(Debug, Default)]
pub struct Notes {
    /// Since when, and whether it was announced.
    known: BTreeMap<Note, (Duration, bool)>,
}

/// What to tell after a pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Notes that have lasted.
    pub begun: Vec<Note>,
    /// Announced notes that are over.
    pub over: Vec<Note>,
}

impl Notes {
    /// Takes in the notes of a pass.
    pub fn update(&mut self, notes: Vec<Note>, now: Duration) -> News {
        let mut news = News::default();
        let mut before = std::mem::take(&mut self.known);
        for note in notes {
            let (since, announced) = before.remove(&note).unwrap_or((now, false));
            let due = now >= since + PATIENCE;
            if due && !announced {
                news.begun.push(note.clone());
            }
            self.known.insert(note, (since, due));
        }
        let announced = before.into_iter().filter(|(_, (_, announced))| *announced);
        news.over = announced.map(|(note, _)| note).collect();
        news
    }

    /// Every note, announced or not.
    pub fn all(&self) -> impl Iterator<Item = &Note> {
        self.known.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_soon_over_is_not_announced() {
        let note = |pool: &str| Note::NoBackend { pool: pool.into() };
        let at = Duration::from_millis;
        let mut notes = Notes::default();
        assert_eq!(
            notes.update(vec![note("a"), note("b")], at(0)),
            News::default()
        );
        assert_eq!(notes.all().count(), 2);
        assert_eq!(notes.update(vec![note("a")], at(500)), News::default());
        let news = notes.update(vec![note("a")], at(1_000));
        assert_eq!((news.begun, news.over), (vec![note("a")], vec![]));
        assert_eq!(notes.update(vec![note("a")], at(5_000)), News::default());
        let news = notes.update(vec![], at(6_000));
        assert_eq!((news.begun, news.over), (vec![], vec![note("a")]));
        assert_eq!(notes.update(vec![note("a")], at(6_100)), News::default());
    }
}
