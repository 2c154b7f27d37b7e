//! What an answer must hold.

use super::ProbeError;
use crate::config::model::Payload;

/// So much of an answer is looked at.
const MOST: usize = 64 * 1024;
/// So much of it is shown.
const SHOWN: usize = 60;

/// The answer so far.
pub struct Content<'a> {
    expected: &'a Payload,
    seen: Vec<u8>,
}

impl<'a> Content<'a> {
    pub fn new(expected: &'a Payload) -> Self {
        Self {
            expected,
            seen: Vec::new(),
        }
    }

    /// Takes in the next part; whether the answer holds what it must.
    pub fn add(&mut self, part: &[u8]) -> bool {
        let wanted = self.expected.0.as_slice();
        if wanted.is_empty() {
            return true;
        }
        let part = part.get(..MOST - self.seen.len()).unwrap_or(part);
        let from = self.seen.len().saturating_sub(wanted.len() - 1);
        self.seen.extend(part);
        let mut places = self.seen[from..].windows(wanted.len());
        places.any(|place| place == wanted)
    }

    /// Whether no more of it is looked at.
    pub fn is_full(&self) -> bool {
        self.seen.len() >= MOST
    }

    /// The whole answer does not hold it.
    pub fn lacking(&self) -> ProbeError {
        let begin = self.seen.get(..SHOWN).unwrap_or(&self.seen);
        ProbeError::Content {
            expected: self.expected.to_string(),
            found: match begin {
                [] => "it is empty".to_owned(),
                begin => format!("it begins with \"{}\"", begin.escape_ascii()),
            },
        }
    }
}
