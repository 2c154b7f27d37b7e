//! What moves by calls of a cloud's API.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::prefix::Prefix;

/// What of the cloud moves to the active node, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cloud {
    /// The region; `None`: that of the instance.
    pub region: Option<String>,
    /// The API; `None`: the region's public one.
    pub endpoint: Option<Url>,
    /// A proxy on the way there.
    pub proxy: Option<Url>,
    /// Authorities; `None`: those that the host trusts.
    pub ca_file: Option<PathBuf>,
    /// Between two looks at what is where.
    pub refresh: Duration,
    /// Where moves are written down; `None`: beside the admin socket.
    pub journal: Option<PathBuf>,
    /// The instance's type; `None`: the file does not say.
    pub instance_type: Option<String>,
    /// Figures of types that go before the built-in ones.
    pub limits_file: Option<PathBuf>,
    /// A bucket that gets copies of what is written down.
    pub journal_bucket: Option<JournalBucket>,
    /// Private addresses, each with its interface and group.
    pub addresses: Vec<Movable<IpAddr>>,
    /// Prefixes of IPv4.
    pub prefixes: Vec<Movable<Prefix>>,
    /// Elastic and carrier IP addresses.
    pub elastic_ips: Vec<ElasticIp>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Network interfaces.
    pub interfaces: Vec<MovingInterface>,
}

/// A bucket for copies of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalBucket {
    /// Its name.
    pub name: String,
    /// What names of objects begin with.
    pub prefix: String,
    /// Its address; `None`: the region's public one.
    pub endpoint: Option<Url>,
}

/// Something that moves between network interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Movable<T> {
    /// What.
    pub what: T,
    /// The interface that it is at.
    pub interface: String,
    /// The group that it moves with.
    pub group: String,
}

/// Which of several things of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// The one with this id.
    Id(String),
    /// The one with this public address.
    Public(IpAddr),
    /// Those with this tag: key and value.
    Tag(String, String),
}

impl Display for Which {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Which::Id(id) => f.write_str(id),
            Which::Public(address) => address.fmt(f),
            Which::Tag(key, value) => write!(f, "tag {key}={value}"),
        }
    }
}

/// An Elastic or carrier IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ElasticIp {
    /// Its allocation.
    pub which: Which,
    /// The interface that has the private address.
    pub interface: String,
    /// The private address at this node.
    pub private: IpAddr,
    /// That at the other node; the same where it moves itself.
    pub peer: IpAddr,
    /// The group that it moves with.
    pub group: String,
}

/// A route to the active node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Its table, or its tables.
    pub table: Which,
    /// Its destination.
    pub destination: Prefix,
    /// The interface that it leads to.
    pub interface: String,
    /// The group that it moves with.
    pub group: String,
}

/// A network interface that moves as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovingInterface {
    /// Which.
    pub which: Which,
    /// The interface that it is at the active node.
    pub interface: String,
    /// Its place at this instance.
    pub device_index: u32,
    /// The group that it moves with.
    pub group: String,
}

/// Where a server is: without path or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Url {
    /// `http://` or `https://`, a host, maybe a port.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => rest.find(':').map_or((rest, ""), |at| rest.split_at(at)),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(allowed) {
            return None;
        }
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None if port.is_empty() => match tls {
                true => 443,
                false => 80,
            },
            None => return None,
        };
        let host = host.to_owned();
        Some(Self { tls, host, port })
    }

    /// Host and port as HTTP's Host header has them.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl Display for Url {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, authority, port) in [
            ("https://ec2.example.com", "ec2.example.com", 443),
            ("https://ec2.example.com/", "ec2.example.com", 443),
            ("http://10.0.0.1:3128", "10.0.0.1:3128", 3128),
            ("http://[fd00:ec2::254]", "[fd00:ec2::254]", 80),
            ("https://[::1]:8443", "[::1]:8443", 8443),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.authority().as_str(), url.port), (authority, port));
        }
        for text in [
            "ec2.example.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u@a",
            "http://a:0",
            "http://a:x",
            "http://[1.2.3.4]",
            "http://[::1]x",
            "http://a b",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }
}
