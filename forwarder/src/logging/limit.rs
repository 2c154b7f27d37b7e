//! Holds back what comes too often. A kind of message is the place in the code that it comes from.

use std::collections::BTreeMap;
use std::time::Duration;

use log::{Level, Record};

/// Messages of a kind that pass in a window.
const BURST: u64 = 100;
/// A window begins with the first message after the last one.
const WINDOW: Duration = Duration::from_secs(10);
/// Kinds that are kept apart; there are fewer places in the code.
const KINDS: usize = 1_000;
/// Characters of the last message held back that are kept.
const LONGEST: usize = 200;

/// How many messages of a kind were held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    pub level: Level,
    pub target: String,
    pub count: u64,
    /// The last of them, or its beginning.
    pub last: String,
}

#[derive(Debug)]
struct Window {
    since: Duration,
    passed: u64,
    suppressed: Option<Suppressed>,
}

/// Counts messages by kind.
#[derive(Debug, Default)]
pub struct Limiter {
    windows: BTreeMap<(String, u32), Window>,
}

impl Limiter {
    /// Whether a message passes, and what was held back before it.
    pub fn pass(&mut self, record: &Record<'_>, now: Duration) -> (bool, Vec<Suppressed>) {
        // Whoever asks for details wants all of them. The data plane's come from packets.
        let is_detail =
            record.level() >= Level::Debug && record.target().starts_with("forwarder::");
        if is_detail {
            return (true, Vec::new());
        }
        let over = self.over(now);
        let file = record.file().unwrap_or_else(|| record.target());
        let mut kind = (file.to_owned(), record.line().unwrap_or(0));
        if self.windows.len() >= KINDS && !self.windows.contains_key(&kind) {
            kind = (String::new(), 0);
        }
        let window = self.windows.entry(kind).or_insert(Window {
            since: now,
            passed: 0,
            suppressed: None,
        });
        if window.passed < BURST {
            window.passed += 1;
            return (true, over);
        }
        let suppressed = window.suppressed.get_or_insert_with(|| Suppressed {
            level: record.level(),
            target: record.target().to_owned(),
            count: 0,
            last: String::new(),
        });
        suppressed.count += 1;
        suppressed.last = record.args().to_string().chars().take(LONGEST).collect();
        (false, over)
    }

    /// Ends the windows that are over: what was held back in them.
    pub fn over(&mut self, now: Duration) -> Vec<Suppressed> {
        let ended = self
            .windows
            .extract_if(.., |_, window| now >= window.since + WINDOW);
        ended.filter_map(|(_, window)| window.suppressed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(
        limiter: &mut Limiter,
        (line, level, text): (u32, Level, &str),
        now: u64,
    ) -> (bool, Vec<Suppressed>) {
        let mut record = Record::builder();
        record
            .level(level)
            .target("forwarder::x")
            .file(Some("x.rs"))
            .line(Some(line));
        limiter.pass(
            &record.args(format_args!("{text}")).build(),
            Duration::from_secs(now),
        )
    }

    #[test]
    fn each_kind_has_its_own_limit_and_what_is_held_back_is_told() {
        let mut limiter = Limiter::default();
        let passed = (0..1_000).filter(|_| pass(&mut limiter, (1, Level::Warn, "a"), 0).0);
        assert_eq!(passed.count() as u64, BURST);
        assert!(pass(&mut limiter, (2, Level::Warn, "b"), 9).0);
        assert!((0..1_000).all(|_| pass(&mut limiter, (3, Level::Debug, "c"), 9).0));
        assert_eq!(limiter.over(Duration::from_secs(9)), []);
        let (passes, over) = pass(&mut limiter, (1, Level::Warn, "a"), 10);
        assert!(passes);
        let told = Suppressed {
            level: Level::Warn,
            target: "forwarder::x".to_owned(),
            count: 900,
            last: "a".to_owned(),
        };
        assert_eq!(over, [told]);
        assert_eq!(limiter.over(Duration::from_secs(100)), []);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut limiter = Limiter::default();
        let long = "x".repeat(10_000);
        for line in 0..2_000 {
            for _ in 0..3 {
                pass(&mut limiter, (line, Level::Info, &long), 1);
            }
        }
        assert_eq!(limiter.windows.len(), KINDS + 1);
        let over = limiter.over(Duration::from_secs(20));
        assert_eq!(
            over.len(),
            1,
            "those without a window of their own share one"
        );
        assert_eq!(over[0].last.len(), LONGEST);
        assert!(limiter.windows.is_empty());
    }
}
