//! A message as one line: time, level, where from, text, fields as `key=value`.

use std::fmt::Write as _;
use std::time::Duration;

use log::Level;

use super::Entry;
use crate::core::time::utc;

/// `time`: since 1970.
pub fn format(time: Duration, entry: &Entry<'_>, colours: bool) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (on, off) = match (colours, entry.level) {
        (false, _) => ("", ""),
        (true, Level::Error) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::Warn) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    let mut line = format!(
        "{} {on}{:5}{off} {}: {}",
        utc(milliseconds),
        entry.level,
        entry.target,
        // One message, one line; what has more is indented, so that every message begins with its time.
        entry.text.trim_end().replace('\n', "\n    "),
    );
    for (key, value) in &entry.fields {
        let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
        // Writing to a string never fails.
        let _ = if !value.is_empty() && value.chars().all(bare) {
            write!(line, " {key}={value}")
        } else {
            write!(line, " {key}={value:?}")
        };
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_fields() {
        let entry = Entry {
            level: Level::Warn,
            target: "forwarder::node",
            text: "b1 is down:\nrefused\n".to_owned(),
            place: None,
            fields: [("pool", "web"), ("why", "a \"b\"\n"), ("none", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        assert_eq!(
            format(Duration::from_millis(1_500), &entry, false),
            "1970-01-01T00:00:01.500Z WARN  forwarder::node: b1 is down:\n    refused pool=web why=\"a \\\"b\\\"\\n\" none=\"\"\n"
        );
        assert!(format(Duration::ZERO, &entry, true).contains("\x1b[33mWARN \x1b[0m"));
    }
}
