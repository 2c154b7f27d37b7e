//! What health checks ask, and what they expect.

use std::path::PathBuf;

use super::super::model::{Payload, StatusRange};
use super::number::integer;
use super::{Code, Diagnostic, Diagnostics, Fault, FromText, Node, Shape, Value, short};

/// The path of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct HttpPath(pub(in crate::config) String);

impl FromText for HttpPath {
    const EXPECTED: &'static str = "a path that begins with /";

    fn from_text(text: &str) -> Result<Self, Fault> {
        // What is not visible ASCII would end the request line or be sent as something else.
        if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic())
        {
            Ok(HttpPath(text.to_owned()))
        } else {
            let message = format!("\"{}\" can't be a path", short(text).escape_debug());
            Err(Fault::new(Code::BadPath, message))
        }
    }
}

/// The value of an HTTP Host header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct HttpHost(pub(in crate::config) String);

impl FromText for HttpHost {
    const EXPECTED: &'static str = "a host name, with a port if need be";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        if !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed) {
            Ok(HttpHost(text.to_owned()))
        } else {
            let message = format!("\"{}\" can't be a host name", short(text).escape_debug());
            Err(Fault::new(Code::BadHost, message))
        }
    }
}

/// A file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct FilePath(pub(in crate::config) PathBuf);

impl FromText for FilePath {
    const EXPECTED: &'static str = "an absolute path of a file";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let path = PathBuf::from(text);
        if path.is_absolute() && !text.contains('\0') {
            Ok(FilePath(path))
        } else {
            let message = format!("\"{}\" is not an absolute path", short(text).escape_debug());
            Err(Fault::new(Code::BadPath, message))
        }
    }
}

/// Bytes of a payload at most: they fit in one datagram.
const LARGEST: usize = 1024;

impl FromText for Payload {
    const EXPECTED: &'static str =
        "at most 1024 bytes: a text, or \"hex:\" and pairs of hexadecimal digits";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bytes = match text.strip_prefix("hex:") {
            None => text.as_bytes().to_vec(),
            Some(digits) => bytes(digits).ok_or_else(|| {
                let message = format!("\"{}\" are not pairs of hexadecimal digits", short(digits));
                Fault::new(Code::BadPayload, message)
            })?,
        };
        if bytes.len() > LARGEST {
            let message = format!("{} bytes are too many", bytes.len());
            return Err(Fault::new(Code::BadPayload, message));
        }
        Ok(Payload(bytes))
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

impl Value for StatusRange {
    fn shape() -> Shape {
        let range = "a range such as \"200-299\"";
        Shape::Either(
            Box::new(Shape::Integer(LOWEST.into(), HIGHEST.into())),
            Box::new(Shape::Text(range)),
        )
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let fits = |code: &u16| (LOWEST..=HIGHEST).contains(code);
        let Some(text) = node.get_ref().as_str() else {
            let number = integer(node, &Self::shape(), out)?;
            let code = u16::try_from(number).ok().filter(fits);
            if code.is_none() {
                let message = format!("{number} is out of range");
                out.push(
                    Diagnostic::new(Code::OutOfRange, node.span().into(), message)
                        .expected(Self::shape().to_string()),
                );
            }
            return code.map(|code| StatusRange {
                low: code,
                high: code,
            });
        };
        let code = |digits: &str| {
            let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).filter(fits)
        };
        let range = text.split_once('-');
        let range = range.and_then(|(low, high)| Some((code(low)?, code(high)?)));
        match range.filter(|(low, high)| low <= high) {
            Some((low, high)) => Some(StatusRange { low, high }),
            None => {
                let message = format!("\"{}\" is not a range of status codes", short(text));
                let mut diagnostic = Diagnostic::new(Code::BadStatus, node.span().into(), message)
                    .expected(Self::shape().to_string());
                if code(text).is_some() {
                    diagnostic = diagnostic.help("write the number without quotes");
                }
                out.push(diagnostic);
                None
            }
        }
    }
}

/// The status codes of HTTP.
const LOWEST: u16 = 100;
const HIGHEST: u16 = 599;
