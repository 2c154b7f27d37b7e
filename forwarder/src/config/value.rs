//! Reading one value of the file into its type.

mod address;
mod check;
mod cloud;
mod list;
mod number;
mod text;

use std::fmt::{self, Display, Formatter};

use forwarder_common::Mode;
use toml::de::DeValue;

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics, Span};
use super::model;
use super::section::Section;
use super::suggest::nearest;
use super::words::{Word, words};

pub(super) use address::{is_link_local, unusable};
pub(super) use check::{FilePath, HttpHost, HttpPath};
pub(super) use cloud::{
    AllocationId, BucketName, CloudUrl, InstanceType, NetworkInterfaceId, ObjectPrefix, Region,
    RouteTableId, Tag,
};
pub(super) use list::{List, Many, OneOrMany, PerNode};
pub(super) use number::Number;
pub(super) use text::{Device, HashKey, IdleTime, Name};

/// A value as the TOML parser leaves it.
pub(super) type Node<'i> = toml::Spanned<DeValue<'i>>;

/// What can be read from a value of the file.
pub(super) trait Value: Sized {
    /// What it looks like.
    fn shape() -> Shape;

    /// Reads it; on `None` at least one error was pushed.
    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self>;
}

/// What a value looks like: for messages, for the documentation, for a JSON schema.
#[derive(Clone, Debug)]
pub enum Shape {
    /// `true` or `false`.
    Boolean,
    /// An integer within bounds.
    Integer(i64, i64),
    /// A string of some kind, in words.
    Text(&'static str),
    /// One of a few strings.
    Words(Vec<&'static str>),
    /// An array, not empty.
    List(Box<Shape>),
    /// One value, or an array that is not empty.
    OneOrMany(Box<Shape>),
    /// One value, or a table of values keyed by node name.
    PerNode(Box<Shape>),
    /// One of two shapes.
    Either(Box<Shape>, Box<Shape>),
    /// A table.
    Table(Section),
    /// An array of tables.
    Tables(Section),
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Boolean => f.write_str("true or false"),
            Shape::Integer(low, high) => write!(f, "an integer from {low} to {high}"),
            Shape::Text(what) => f.write_str(what),
            Shape::Words(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                match quoted.split_last() {
                    Some((last, [])) => f.write_str(last),
                    Some((last, rest)) => write!(f, "{} or {last}", rest.join(", ")),
                    None => Ok(()),
                }
            }
            Shape::List(inner) => write!(f, "a list, each {inner}"),
            Shape::OneOrMany(inner) => write!(f, "{inner}; or a list of such"),
            Shape::PerNode(inner) => write!(f, "{inner}; or one for each node, {{ node = … }}"),
            Shape::Either(one, other) => write!(f, "{one}, or {other}"),
            Shape::Table(section) => write!(f, "a table [{}]", section.title),
            Shape::Tables(section) => write!(f, "tables [[{}]]", section.title),
        }
    }
}

/// Why a string is not a value of its type.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Fault {
            code,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What is written as a string.
pub(super) trait FromText: Sized {
    /// What is expected, in words.
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Result<Self, Fault>;
}

impl<T: FromText> Value for T {
    fn shape() -> Shape {
        Shape::Text(T::EXPECTED)
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.get_ref().as_str() else {
            out.push(wrong_type(node, &Self::shape()));
            return None;
        };
        match T::from_text(text) {
            Ok(value) => Some(value),
            Err(fault) => {
                let mut diagnostic = Diagnostic::new(fault.code, node.span().into(), fault.message)
                    .expected(T::EXPECTED);
                diagnostic.help = fault.help;
                out.push(diagnostic);
                None
            }
        }
    }
}

impl Value for bool {
    fn shape() -> Shape {
        Shape::Boolean
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            out.push(wrong_type(node, &Self::shape()));
        }
        value
    }
}

macro_rules! values_by_word {
    ($($name:ty)*) => {$(
        impl Value for $name {
            fn shape() -> Shape {
                Shape::Words(<$name>::WORDS.iter().map(|(word, _)| *word).collect())
            }

            fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
                read_word(node, &Self::shape(), out)
            }
        }
    )*};
}

values_by_word! {
    Mode model::Transmit model::Protocol model::Affinity model::BackendState
    model::WhenDown Protocols model::PartitionPolicy ProbeType ProbeVia ProbeProtocol CloudProvider
}

words! {
    /// The transport protocols of a virtual server of the file.
    pub enum Protocols {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// Both.
        Any = "any",
    }
}

impl Protocols {
    /// One by one.
    pub fn each(self) -> &'static [model::Protocol] {
        match self {
            Self::Tcp => &[model::Protocol::Tcp],
            Self::Udp => &[model::Protocol::Udp],
            Self::Any => &[model::Protocol::Tcp, model::Protocol::Udp],
        }
    }
}

words! {
    /// The types of health checks.
    pub enum ProbeType {
        /// A TCP connection.
        Tcp = "tcp",
        /// An HTTP GET.
        Http = "http",
        /// An HTTP GET over TLS.
        Https = "https",
        /// A datagram.
        Udp = "udp",
        /// An echo request.
        Icmp = "icmp",
    }
}

words! {
    /// What a probe port speaks.
    pub enum ProbeProtocol {
        /// It accepts connections, or does not.
        Tcp = "tcp",
        /// It answers 200 or 503.
        Http = "http",
    }
}

words! {
    /// Clouds whose API is known.
    pub enum CloudProvider {
        /// Amazon's.
        Aws = "aws",
    }
}

words! {
    /// The ways of health checks.
    pub enum ProbeVia {
        /// To the backend's own address.
        Address = "address",
        /// To the VIP, through the tunnel.
        Tunnel = "tunnel",
    }
}

fn read_word<T: Word>(node: &Node<'_>, shape: &Shape, out: &mut Diagnostics) -> Option<T> {
    let Some(text) = node.get_ref().as_str() else {
        out.push(wrong_type(node, shape));
        return None;
    };
    let value = T::WORDS
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value);
    if value.is_none() {
        let message = format!("\"{}\" is not one of the words this key takes", short(text));
        let mut diagnostic = Diagnostic::new(Code::UnknownWord, node.span().into(), message)
            .expected(shape.to_string());
        let words = T::WORDS.iter().map(|(word, _)| *word);
        if let Some(word) = nearest(&text.to_ascii_lowercase(), words) {
            diagnostic = diagnostic.help(did_you_mean(word));
        }
        out.push(diagnostic);
    }
    value
}

/// The error for a value of the wrong TOML type.
pub(super) fn wrong_type(node: &Node<'_>, shape: &Shape) -> Diagnostic {
    let found = match node.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    let span = Span::from(node.span());
    Diagnostic::new(Code::WrongType, span, format!("{found} does not fit here"))
        .expected(shape.to_string())
}

pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean \"{word}\"?")
}

/// The text as a message shows it: not at any length.
pub(super) fn short(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}
