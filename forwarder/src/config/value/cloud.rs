//! What the cloud calls its things.

use std::fmt::{self, Display, Formatter};

use super::super::model::Url;
use super::{Code, Fault, FromText, short};

/// Declares names of one kind of thing: a prefix, then digits and letters.
macro_rules! ids {
    ($($name:ident $prefix:literal $about:literal $expected:literal)+) => {$(
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(in crate::config) struct $name(pub(in crate::config) String);

        impl FromText for $name {
            const EXPECTED: &'static str = $expected;

            fn from_text(text: &str) -> Result<Self, Fault> {
                let rest = text.strip_prefix($prefix).unwrap_or_default();
                let good = rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if rest.is_empty() || !good || rest.len() > 64 {
                    let message = format!("\"{}\" is none", short(text).escape_debug());
                    return Err(Fault::new(Code::BadCloudId, message));
                }
                Ok(Self(text.to_owned()))
            }
        }
    )+};
}

ids! {
    AllocationId "eipalloc-" "An Elastic or carrier IP address." "an allocation id, eipalloc-…"
    NetworkInterfaceId "eni-" "A network interface." "a network interface's id, eni-…"
    RouteTableId "rtb-" "A route table." "a route table id, rtb-…"
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Region(pub(in crate::config) String);

impl FromText for Region {
    const EXPECTED: &'static str = "a region such as eu-central-1 or us-gov-west-1";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let last = text.bytes().last();
        if text.len() > 32
            || !text.contains('-')
            || !text.bytes().all(allowed)
            || !last.is_some_and(|last| last.is_ascii_digit())
        {
            let message = format!("\"{}\" is no region", short(text).escape_debug());
            return Err(Fault::new(Code::BadCloudId, message));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A type of instance: family and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct InstanceType(
    pub(in crate::config) String,
    pub(in crate::config) String,
);

impl Display for InstanceType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromText for InstanceType {
    const EXPECTED: &'static str = "an instance type such as m6i.xlarge";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match text.split_once('.') {
            Some((family, size)) if text.len() <= 64 && allowed(family) && allowed(size) => {
                Ok(Self(family.to_owned(), size.to_owned()))
            }
            _ => {
                let message = format!("\"{}\" is no instance type", short(text).escape_debug());
                Err(Fault::new(Code::BadCloudId, message))
            }
        }
    }
}

/// A tag: a key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Tag(pub(in crate::config) String, pub(in crate::config) String);

impl FromText for Tag {
    const EXPECTED: &'static str = "a tag as key=value";

    fn from_text(text: &str) -> Result<Self, Fault> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && key.len() <= 128 && value.len() <= 256 => {
                Ok(Self(key.to_owned(), value.to_owned()))
            }
            _ => {
                let message = format!("\"{}\" is no tag", short(text).escape_debug());
                Err(Fault::new(Code::BadCloudId, message))
            }
        }
    }
}

/// The name of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct BucketName(pub(in crate::config) String);

impl FromText for BucketName {
    const EXPECTED: &'static str = "a bucket: 3 to 63 small letters, digits, or one of - .";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        match (3..=63).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => {
                let message = format!("\"{}\" is no bucket", short(text).escape_debug());
                Err(Fault::new(Code::BadCloudId, message))
            }
        }
    }
}

/// What names of objects begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct ObjectPrefix(pub(in crate::config) String);

impl FromText for ObjectPrefix {
    const EXPECTED: &'static str =
        "names of letters, digits, - _ and ., with a / after each: forwarder/web/";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed = |part: &str| {
            let mut bytes = part.bytes();
            let good = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            good && !["", ".", ".."].contains(&part)
        };
        let parts = text.strip_suffix('/').map(|text| text.split('/'));
        match text.len() <= 256 && parts.is_some_and(|mut parts| parts.all(allowed)) {
            true => Ok(Self(text.to_owned())),
            false => {
                let message = format!("\"{}\" is no such prefix", short(text).escape_debug());
                Err(Fault::new(Code::BadCloudId, message))
            }
        }
    }
}

/// Where an API or a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct CloudUrl(pub(in crate::config) Url);

impl FromText for CloudUrl {
    const EXPECTED: &'static str = "a URL of scheme, host and maybe port: https://ec2.example.com";

    fn from_text(text: &str) -> Result<Self, Fault> {
        Url::parse(text).map(Self).ok_or_else(|| {
            let message = format!("\"{}\" is no such URL", short(text).escape_debug());
            Fault::new(Code::BadUrl, message)
        })
    }
}
