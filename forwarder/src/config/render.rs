//! How diagnostics look on a terminal.

use std::fmt::{self, Display, Formatter};

use super::code::Severity;
use super::diagnostic::{ConfigErrors, Diagnostic, Span};
use super::secret::{masked, masked_line};

/// Characters of a source line that are shown; of a longer one the part around the error.
const MAX_WIDTH: usize = 100;

/// Every diagnostic, then the summary.
impl Display for ConfigErrors {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.details(f)?;
        f.write_str(&self.summary())
    }
}

impl ConfigErrors {
    /// One line: the file, and whether it is good.
    pub fn summary(&self) -> String {
        let count = |severity| {
            self.list
                .iter()
                .filter(|d| d.code.severity() == severity)
                .count()
        };
        let errors = count(Severity::Error);
        let warnings = count(Severity::Warning);
        let judgement = match (errors, warnings) {
            (0, 0) => "good".to_owned(),
            (0, warnings) => format!("good, {}", plural(warnings, "warning")),
            (errors, 0) => plural(errors, "error"),
            (errors, warnings) => {
                format!(
                    "{}, {}",
                    plural(errors, "error"),
                    plural(warnings, "warning")
                )
            }
        };
        format!("{}: {judgement}", self.shown_file())
    }

    fn shown_file(&self) -> String {
        self.file.chars().map(visible).collect()
    }

    fn details(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            self.diagnostic(f, diagnostic)?;
            writeln!(f)?;
        }
        if self.dropped > 0 {
            writeln!(f, "and {} more that are not shown\n", self.dropped)?;
        }
        Ok(())
    }

    fn diagnostic(&self, f: &mut Formatter<'_>, diagnostic: &Diagnostic) -> fmt::Result {
        let severity = diagnostic.code.severity();
        writeln!(
            f,
            "{severity}[{}]: {}",
            diagnostic.code,
            printable(&diagnostic.message)
        )?;
        self.snippet(f, diagnostic.span)?;
        if let Some(expected) = &diagnostic.expected {
            writeln!(f, "  = expected: {}", printable(expected))?;
        }
        for (span, note) in &diagnostic.notes {
            writeln!(f, "note: {}", printable(note))?;
            self.snippet(f, *span)?;
        }
        if let Some(help) = &diagnostic.help {
            writeln!(f, "  = help: {}", printable(help))?;
        }
        Ok(())
    }

    fn snippet(&self, f: &mut Formatter<'_>, span: Span) -> fmt::Result {
        let file = self.shown_file();
        let Some((number, column)) = self.position(span) else {
            return writeln!(f, "  --> {file}");
        };
        writeln!(f, "  --> {file}:{number}:{column}")?;
        let line = masked_line(self.line(number));
        let length = line.chars().count();
        let marked = self.text.get(span.start..span.end).map_or(0, |text| {
            // Only the first line of what spans several is underlined.
            text.lines().next().unwrap_or("").chars().count()
        });
        let from = if length > MAX_WIDTH {
            column.saturating_sub(MAX_WIDTH / 2)
        } else {
            0
        };
        let shown: String = line
            .chars()
            .skip(from)
            .take(MAX_WIDTH)
            .map(visible)
            .collect();
        let indent = column - 1 - from;
        let carets = marked.clamp(1, (MAX_WIDTH - indent.min(MAX_WIDTH - 1)).max(1));
        let margin = number.to_string().len();
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{number} | {}", shown.trim_end())?;
        writeln!(f, "{:margin$} | {:indent$}{}", "", "", "^".repeat(carets))
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Text from the file on one line, without secrets, and without what could drive a terminal.
fn printable(text: &str) -> String {
    masked(text).chars().map(visible).collect()
}

fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        // Direction marks would let a line show something else than it says.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        c => c,
    }
}
