//! Writing sections of a config file.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Text in TOML's quotes.
pub fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's too.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// Several texts.
pub fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// An address for every node, or one for each of two.
pub fn addresses(all: &[IpAddr]) -> String {
    match all {
        [one] => quoted(&one.to_string()),
        [first, second, ..] => format!("{{ lb1 = \"{first}\", lb2 = \"{second}\" }}"),
        [] => quoted(""),
    }
}

/// A section that is being written.
pub struct Section(String);

impl Section {
    /// Begins with its header, such as `[[pool]]`.
    pub fn new(header: &str) -> Self {
        Self(format!("\n{header}\n"))
    }

    /// A key with its value as TOML.
    pub fn key(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        let _ = writeln!(self.0, "{key} = {value}");
        self
    }

    /// A key with a text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key, quoted(value))
    }

    /// The text.
    pub fn end(self) -> String {
        self.0
    }
}

/// A name as the config file takes it.
pub fn name(parts: &[&str]) -> String {
    let joined = parts.join("/");
    let clean: String = joined
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.:/".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let skip = clean.len().saturating_sub(63);
    clean[skip..].to_owned()
}
