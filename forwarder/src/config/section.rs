//! Sections: tables whose keys are declared once, for the reader and for the documentation.

use toml::de::{DeTable, DeValue};

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics, Span, Spanned};
use super::suggest::nearest;
use super::value::{Node, Shape, Value, did_you_mean, short};

/// A table of the file.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name in brackets; empty for the top of the file.
    pub title: &'static str,
    /// What it is for.
    pub about: String,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key of a section.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub about: String,
    /// What its value looks like.
    pub shape: Shape,
    /// Whether it must be given, and what holds where it is not.
    pub presence: Presence,
    /// A value, as TOML.
    pub example: &'static str,
}

/// Whether a key must be given.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not; what holds then, in words.
    Optional(&'static str),
    /// It need not; the value that holds then, as TOML.
    Default(&'static str),
}

/// Reads the keys of one table, each at most once.
pub(super) struct TableReader<'t, 'i, 'd> {
    table: &'t DeTable<'i>,
    title: &'static str,
    span: Span,
    asked: Vec<&'static str>,
    missing: Vec<(&'static str, &'static str)>,
    wrong: Vec<&'static str>,
    out: &'d mut Diagnostics,
}

impl<'t, 'i, 'd> TableReader<'t, 'i, 'd> {
    pub(super) fn new(
        table: &'t DeTable<'i>,
        title: &'static str,
        span: Span,
        out: &'d mut Diagnostics,
    ) -> Self {
        TableReader {
            table,
            title,
            span,
            asked: Vec::new(),
            missing: Vec::new(),
            wrong: Vec::new(),
            out,
        }
    }

    /// The value of `name`; `None` where it is absent or wrong.
    pub(super) fn key<T: Value>(
        &mut self,
        name: &'static str,
        presence: Presence,
        example: &'static str,
    ) -> Option<Spanned<T>> {
        self.asked.push(name);
        if let Some(node) = self.table.get(name) {
            let span = node.span().into();
            let value = T::read(node, self.out);
            if value.is_none() {
                self.wrong.push(name);
            }
            return value.map(|value| Spanned { value, span });
        }
        match presence {
            Presence::Required => {
                self.missing.push((name, example));
                None
            }
            Presence::Optional(_) => None,
            Presence::Default(toml) => {
                let node: Node<'_> = DeValue::parse(toml).ok()?;
                T::read(&node, self.out).map(|value| Spanned {
                    value,
                    span: self.span,
                })
            }
        }
    }

    /// Reports the keys that are missing, and those that nobody asked for. Returns those whose values
    /// were wrong.
    pub(super) fn finish(self) -> Vec<&'static str> {
        if !self.missing.is_empty() {
            let names: Vec<&str> = self.missing.iter().map(|(name, _)| *name).collect();
            let lines: Vec<String> = self
                .missing
                .iter()
                .map(|(name, example)| format!("{name} = {example}"))
                .collect();
            let message = format!("{} lacks {}", self.place(), names.join(", "));
            self.out.push(
                Diagnostic::new(Code::MissingKey, self.span, message)
                    .expected(format!("for example {}", lines.join(", "))),
            );
        }
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let message = format!("{} has no key \"{}\"", self.place(), short(name));
            let mut diagnostic = Diagnostic::new(Code::UnknownKey, key.span().into(), message)
                .expected(format!("one of {}", self.asked.join(", ")));
            let absent = self
                .asked
                .iter()
                .copied()
                .filter(|known| !self.table.contains_key(*known));
            if !self.out.is_full()
                && let Some(known) = nearest(name, absent)
            {
                diagnostic = diagnostic.help(did_you_mean(known));
            }
            self.out.push(diagnostic);
        }
        self.wrong
    }

    fn place(&self) -> String {
        if self.title.is_empty() {
            "the file".to_owned()
        } else {
            format!("[{}]", self.title)
        }
    }
}

/// A section that was read.
pub(super) trait Wrong {
    /// Whether a key is there with a wrong value: to call it missing would be one error too many.
    fn is_wrong(&self, key: &str) -> bool;
}

/// Declares a section: a struct that holds what was read, and its description.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $title:literal $name:ident {
            $(
                $(#[doc = $key_about:literal])+
                $key:ident: $type:ty = $presence:expr, $example:literal;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $($(#[doc = $key_about])+
            pub(super) $key: Option<$crate::config::diagnostic::Spanned<$type>>,)+
            /// Keys that are there, but whose values are wrong, which was reported.
            wrong: Vec<&'static str>,
        }

        impl $crate::config::section::Wrong for $name {
            fn is_wrong(&self, key: &str) -> bool {
                self.wrong.contains(&key)
            }
        }

        impl $name {
            /// The section's description.
            pub(super) fn section() -> $crate::config::section::Section {
                use $crate::config::section::Presence::*;
                $crate::config::section::Section {
                    title: $title,
                    about: [$($about),+].map(str::trim).join(" "),
                    keys: vec![$($crate::config::section::Key {
                        name: stringify!($key).trim_start_matches("r#"),
                        about: [$($key_about),+].map(str::trim).join(" "),
                        shape: <$type as $crate::config::value::Value>::shape(),
                        presence: $presence,
                        example: $example,
                    }),+],
                }
            }

            /// Reads the section from a table.
            pub(super) fn from_table(
                table: &toml::de::DeTable<'_>,
                span: $crate::config::diagnostic::Span,
                out: &mut $crate::config::diagnostic::Diagnostics,
            ) -> Self {
                use $crate::config::section::Presence::*;
                let mut reader =
                    $crate::config::section::TableReader::new(table, $title, span, out);
                let mut read = $name {
                    wrong: Vec::new(),
                    $($key: reader.key(stringify!($key).trim_start_matches("r#"), $presence, $example),)+
                };
                read.wrong = reader.finish();
                read
            }
        }

        impl $crate::config::value::Value for $name {
            fn shape() -> $crate::config::value::Shape {
                $crate::config::value::Shape::Table($name::section())
            }

            fn read(
                node: &$crate::config::value::Node<'_>,
                out: &mut $crate::config::diagnostic::Diagnostics,
            ) -> Option<Self> {
                match node.get_ref().as_table() {
                    Some(table) => Some($name::from_table(table, node.span().into(), out)),
                    None if out.is_full() => {
                        out.drop(1);
                        None
                    }
                    None => {
                        out.push($crate::config::value::wrong_type(node, &Self::shape()));
                        None
                    }
                }
            }
        }
    };
}

pub(super) use section;
