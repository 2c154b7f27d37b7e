//! What is wrong with a file, and where.

use std::collections::BTreeSet;
use std::ops::{Deref, Range};

use super::code::{Code, Severity};

/// A range of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The file as a whole: no line is shown.
    pub const FILE: Span = Span {
        start: usize::MAX,
        end: usize::MAX,
    };
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Span {
            start: range.start,
            end: range.end,
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the file.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// What kind of error.
    pub code: Code,
    /// Where.
    pub span: Span,
    /// What is wrong, one line.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that take part.
    pub notes: Vec<(Span, String)>,
}

impl Diagnostic {
    pub(super) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            span,
            message: message.into(),
            expected: None,
            help: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn note(mut self, span: Span, note: impl Into<String>) -> Self {
        self.notes.push((span, note.into()));
        self
    }
}

/// Collects diagnostics; each is kept once, and only so many.
#[derive(Default)]
pub(super) struct Diagnostics {
    list: Vec<Diagnostic>,
    known: BTreeSet<Diagnostic>,
    dropped: usize,
}

/// More than this many diagnostics are counted, not kept.
const MAX_KEPT: usize = 500;

impl Diagnostics {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.dropped += 1;
        } else if self.known.insert(diagnostic.clone()) {
            self.list.push(diagnostic);
        }
    }

    /// Whether more diagnostics are only counted: work on good messages is wasted then.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_KEPT
    }

    pub(super) fn has_errors(&self) -> bool {
        self.dropped > 0 || self.errors().next().is_some()
    }

    /// Whether there are errors of another code.
    pub(super) fn has_errors_but(&self, code: Code) -> bool {
        self.dropped > 0 || self.errors().any(|error| error != code)
    }

    fn errors(&self) -> impl Iterator<Item = Code> {
        let codes = self.list.iter().map(|diagnostic| diagnostic.code);
        codes.filter(|code| code.severity() == Severity::Error)
    }

    pub(super) fn has_code(&self, code: Code) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.code == code)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(Code) -> bool) {
        self.list.retain(|diagnostic| keep(diagnostic.code));
    }

    /// Counts diagnostics that were not kept.
    pub(super) fn drop(&mut self, count: usize) {
        self.dropped += count;
    }

    pub(super) fn into_parts(mut self) -> (Vec<Diagnostic>, usize) {
        self.list
            .sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
        (self.list, self.dropped)
    }
}

/// The errors and warnings of one file. `Display` shows them all, with the lines they are about.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigErrors {
    pub(super) file: String,
    pub(super) text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    pub(super) list: Vec<Diagnostic>,
    pub(super) dropped: usize,
}

impl ConfigErrors {
    pub(super) fn new(file: &str, text: &str, diagnostics: Diagnostics) -> Self {
        let (list, dropped) = diagnostics.into_parts();
        ConfigErrors {
            file: file.to_owned(),
            text: text.to_owned(),
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            list,
            dropped,
        }
    }

    pub(super) fn one(file: &str, diagnostic: Diagnostic) -> Self {
        ConfigErrors {
            file: file.to_owned(),
            text: String::new(),
            lines: Vec::new(),
            list: vec![diagnostic],
            dropped: 0,
        }
    }

    /// What the file was called.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text of the file; empty where it could not be read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every diagnostic, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Line and column of a span, both from 1; `None` for the file as a whole.
    pub fn position(&self, span: Span) -> Option<(usize, usize)> {
        if span.start > self.text.len() {
            return None;
        }
        let line = self.lines.partition_point(|&start| start <= span.start);
        let before = self
            .text
            .get(*self.lines.get(line.checked_sub(1)?)?..span.start)?;
        Some((line, 1 + before.chars().count()))
    }

    /// The text of a line, counted from 1.
    pub(super) fn line(&self, number: usize) -> &str {
        let start = number.checked_sub(1).and_then(|at| self.lines.get(at));
        let rest = start
            .and_then(|start| self.text.get(*start..))
            .unwrap_or("");
        rest.lines().next().unwrap_or("")
    }
}
