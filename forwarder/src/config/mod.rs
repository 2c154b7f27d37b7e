//! One config file, checked, and turned into the desired state of a node.
//!
//! The file goes through three stages: [`section`] and `value` read the text into typed sections
//! (declared in `schema`) and report everything that is wrong with a single key or value;
//! `validate` resolves names and reports contradictions; what comes out is a [`Model`], in which
//! nothing is left to parse or to look up. Each stage goes on after an error, so that one run shows
//! them all.

mod code;
mod diagnostic;
mod examples;
pub mod instance_type;
mod json_schema;
pub mod model;
mod prefix;
mod reference;
mod render;
mod schema;
mod secret;
mod section;
mod source;
mod suggest;
mod validate;
mod value;
mod words;

use std::path::Path;

use toml::de::DeTable;

pub use code::{Code, Severity};
pub use diagnostic::{ConfigErrors, Diagnostic, Span, Spanned};
pub use examples::{Example, examples};
pub use json_schema::json_schema;
pub use model::Model;
pub use prefix::Prefix;
pub use section::{Key, Presence, Section};
pub use source::MAX_FILE_SIZE;
pub use value::Shape;

use diagnostic::Diagnostics;

/// The version of the format that this program reads.
const VERSION: u32 = 1;

/// A file without errors.
#[derive(Clone, Debug)]
pub struct Config {
    /// What each node is to do: one model for a file without nodes, else one for each.
    pub models: Vec<Model>,
    /// Warnings; may be empty.
    pub warnings: ConfigErrors,
}

impl Config {
    /// The model of `node`. A file for two nodes must be told which; a file without nodes suits any.
    pub fn for_node(mut self, node: Option<&str>) -> Result<Model, ConfigErrors> {
        let names: Vec<&str> = self
            .models
            .iter()
            .filter_map(|m| m.node.as_ref())
            .map(|n| n.name.as_str())
            .collect();
        let position = match node {
            _ if names.is_empty() => Ok(0),
            None if names.len() == 1 => Ok(0),
            None => Err(Diagnostic::new(
                Code::NodeRequired,
                Span::FILE,
                "the file describes two nodes",
            )
            .expected(format!("the name of this one: {}", names.join(" or ")))),
            Some(node) => names.iter().position(|name| *name == node).ok_or_else(|| {
                let message = format!("the file has no node \"{}\"", value::short(node));
                Diagnostic::new(Code::UnknownNode, Span::FILE, message).expected(names.join(" or "))
            }),
        };
        match position {
            Ok(position) => Ok(self.models.swap_remove(position)),
            Err(diagnostic) => Err(ConfigErrors::one(&self.warnings.file, diagnostic)),
        }
    }
}

/// Reads and checks a file; the result holds the model of every node, and warnings.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    match source::read(path) {
        Ok(text) => parse(&file, &text),
        Err(diagnostic) => Err(ConfigErrors::one(&file, diagnostic)),
    }
}

/// Reads and checks a file all but for what its instances may have: for whoever asks the cloud just that.
pub fn load_beyond_limits(path: &Path) -> Result<Vec<Model>, ConfigErrors> {
    let file = path.display().to_string();
    let text = source::read(path).map_err(|diagnostic| ConfigErrors::one(&file, diagnostic))?;
    let mut out = Diagnostics::default();
    let models = models(&text, &mut out);
    models.ok_or_else(|| ConfigErrors::new(&file, &text, out))
}

/// Reads and checks a file; the result is the model of `node`.
pub fn check(path: &Path, node: Option<&str>) -> Result<Model, ConfigErrors> {
    load(path)?.for_node(node)
}

/// Checks the bytes of a file that was called `file`.
pub fn parse_bytes(file: &str, bytes: Vec<u8>) -> Result<Config, ConfigErrors> {
    match source::decode(bytes) {
        Ok(text) => parse(file, &text),
        Err(diagnostic) => Err(ConfigErrors::one(file, diagnostic)),
    }
}

/// Checks the text of a file that was called `file`.
pub fn parse(file: &str, text: &str) -> Result<Config, ConfigErrors> {
    let mut out = Diagnostics::default();
    let models = models(text, &mut out);
    let failed = out.has_errors();
    let found = ConfigErrors::new(file, text, out);
    match models {
        Some(models) if !failed => Ok(Config {
            models,
            warnings: found,
        }),
        _ => Err(found),
    }
}

fn models(text: &str, out: &mut Diagnostics) -> Option<Vec<Model>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser made of the rest would lead to errors that are none.
        syntax(text, &errors, out);
        return None;
    }
    let top = Span {
        start: 0,
        end: text.find('\n').unwrap_or(text.len()),
    };
    let mut found = Diagnostics::default();
    let document = schema::Document::from_table(root.get_ref(), top, &mut found);
    if let Some(version) = document
        .version
        .as_ref()
        .filter(|version| version.0 != VERSION)
    {
        // Another version has other keys: nothing else that was found means anything.
        let message = format!("version {} of the format is not known here", version.0);
        out.push(
            Diagnostic::new(Code::UnsupportedVersion, version.span, message)
                .expected(format!("version = {VERSION}")),
        );
        return None;
    }
    *out = found;
    validate::models(&document, out)
}

/// One error a line: what follows the first is mostly its consequence.
fn syntax(text: &str, errors: &[toml::de::Error], out: &mut Diagnostics) {
    let mut last_line = None;
    for error in errors {
        let span = error.span().map_or(
            Span {
                start: text.len(),
                end: text.len(),
            },
            Span::from,
        );
        let line = text.get(..span.start).and_then(|before| before.rfind('\n'));
        if last_line != Some(line) {
            let diagnostic = Diagnostic::new(Code::Syntax, span, error.message());
            out.push(match bare_word(text, span) {
                Some(word) => diagnostic.help(format!("text is written in quotes: \"{word}\"")),
                None => diagnostic,
            });
        }
        last_line = Some(line);
    }
}

/// The value that `span` is in, if it looks like text that lacks its quotes.
fn bare_word(text: &str, span: Span) -> Option<&str> {
    let line = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let (key, value) = text.get(line..)?.lines().next()?.split_once('=')?;
    if span.start <= line + key.len() || secret::is_secret(key) {
        return None;
    }
    let word = value.split('#').next()?.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    let is_number = !word.contains(|c: char| c.is_ascii_alphabetic() || c == ':')
        && word.matches('.').count() < 2;
    (word.chars().all(is_plain) && !word.is_empty() && !is_number).then_some(word)
}

/// Every section of the file with its keys, outer ones first.
pub fn sections() -> Vec<Section> {
    let mut list = vec![schema::Document::section()];
    let mut next = 0;
    while let Some(section) = list.get(next) {
        let inner: Vec<Section> = section
            .keys
            .iter()
            .filter_map(|key| match &key.shape {
                Shape::Table(section) | Shape::Tables(section) => Some(section.clone()),
                _ => None,
            })
            .collect();
        next += 1;
        list.splice(next..next, inner);
    }
    list
}
