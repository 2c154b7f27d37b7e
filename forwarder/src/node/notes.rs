//! What works less than the file asks for, as it comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

/// A note that is over sooner is nobody's concern: every next hop is unresolved at first.
const PATIENCE: Duration = Duration::from_secs(1);

/// The notes of the last pass.
#[derive(Debug)]
pub struct Notes<N> {
    /// Since when, and whether it was announced.
    known: BTreeMap<N, (Duration, bool)>,
}

impl<N> Default for Notes<N> {
    fn default() -> Self {
        let known = BTreeMap::new();
        Self { known }
    }
}

/// What to tell after a pass.
#[derive(Debug, PartialEq, Eq)]
pub struct News<N> {
    /// Notes that have lasted.
    pub begun: Vec<N>,
    /// Announced notes that are over.
    pub over: Vec<N>,
}

impl<N: Ord + Clone> Notes<N> {
    /// Takes in the notes of a pass.
    pub fn update(&mut self, notes: Vec<N>, now: Duration) -> News<N> {
        let mut begun = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for note in notes {
            let (since, announced) = before.remove(&note).unwrap_or((now, false));
            let due = now >= since + PATIENCE;
            if due && !announced {
                begun.push(note.clone());
            }
            self.known.insert(note, (since, due));
        }
        let announced = before.into_iter().filter(|(_, (_, announced))| *announced);
        let over = announced.map(|(note, _)| note).collect();
        News { begun, over }
    }

    /// Every note, announced or not.
    pub fn all(&self) -> impl Iterator<Item = &N> {
        self.known.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_soon_over_is_not_announced() {
        let none = || News {
            begun: vec![],
            over: vec![],
        };
        let at = Duration::from_millis;
        let mut notes = Notes::default();
        assert_eq!(notes.update(vec!["a", "b"], at(0)), none());
        assert_eq!(notes.all().count(), 2);
        assert_eq!(notes.update(vec!["a"], at(500)), none());
        let news = notes.update(vec!["a"], at(1_000));
        assert_eq!((news.begun, news.over), (vec!["a"], vec![]));
        assert_eq!(notes.update(vec!["a"], at(5_000)), none());
        let news = notes.update(vec![], at(6_000));
        assert_eq!((news.begun, news.over), (vec![], vec!["a"]));
        assert_eq!(notes.update(vec!["a"], at(6_100)), none());
    }
}
