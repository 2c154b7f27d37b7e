//! Where a line of the journal is kept in a bucket, and which of two is the later one.

use serde_json::Value;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The group that moves.
    pub group: String,
    /// The node that writes.
    pub node: String,
    /// The epoch.
    pub epoch: u64,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Whether the move has ended.
    pub is_end: bool,
    /// The line itself.
    pub text: String,
}

impl Line {
    /// The name of its object: names sort as the moves came.
    pub fn key(&self) -> String {
        let event = if self.is_end { "end" } else { "begin" };
        let (group, node) = (plain(&self.group), plain(&self.node));
        format!(
            "{group}/{:012}-{:014}-{node}-{event}.json",
            self.epoch, self.at
        )
    }

    /// The name of the object that has the latest move of the group.
    pub fn latest(&self) -> String {
        format!("{}/latest.json", plain(&self.group))
    }
}

/// A name as a path has it, without escapes.
fn plain(name: &str) -> String {
    name.replace(['/', ':'], ".")
}

/// Whether a line is of a later move than another: of a higher epoch, or of the same and written later. What can't
/// be read is older than everything.
pub fn is_newer(line: &str, other: &str) -> bool {
    let order = |text: &str| {
        let line: Value = serde_json::from_str(text).ok()?;
        Some((line["epoch"].as_u64()?, line["at"].as_str()?.to_owned()))
    };
    order(line) > order(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_sort_as_moves_came_and_the_highest_epoch_is_the_latest() {
        let line = |epoch, at, is_end| Line {
            group: "default".to_owned(),
            node: "lb2".to_owned(),
            epoch,
            at,
            is_end,
            text: String::new(),
        };
        let key = line(7, 1_763_812_800_123, true).key();
        assert_eq!(key, "default/000000000007-01763812800123-lb2-end.json");
        assert!(line(7, 5, false).key() < line(7, 9, true).key());
        assert!(line(7, 9, true).key() < line(10, 1, false).key());
        let text = |epoch, at| format!(r#"{{"epoch":{epoch},"at":"{at}"}}"#);
        for (one, other, newer) in [
            (text(7, "2026-01-01"), text(6, "2026-01-02"), true),
            (text(6, "2026-01-02"), text(7, "2026-01-01"), false),
            (text(7, "2026-01-02"), text(7, "2026-01-01"), true),
            (text(7, "2026-01-01"), text(7, "2026-01-01"), false),
            (text(1, "2026-01-01"), "garbage".to_owned(), true),
            ("garbage".to_owned(), text(1, "2026-01-01"), false),
        ] {
            assert_eq!(is_newer(&one, &other), newer, "{one} {other}");
        }
    }
}
