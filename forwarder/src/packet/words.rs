//! A packet in words: `tcp 198.51.100.7:40112 -> 203.0.113.10:80 ack ttl 3`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use super::{FLAGS, Fragment, Kind, Message, Packet, SYN, TTL};

/// The words do not describe a packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}\n{FORM}")]
pub struct WordsError(pub String);

const FORM: &str = "write it in quotes, like one of these:
  \"tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0\"
  \"tcp [2001:db8::7]:40112 -> [2001:db8::10]:443 ack length 1500 ttl 3 --in eth0\"
  \"udp 198.51.100.7:5000 -> 203.0.113.10:53 vlan 100 fragment 1480 --in eth0\"
  \"icmp 198.51.100.7 -> 203.0.113.10 --in eth0\"
  \"icmp 192.0.2.1 -> 198.51.100.7 too-big 1400 quoting tcp 203.0.113.10:80 -> 198.51.100.7:40112\"
more in `forwarder trace --help`";

/// Tunnels and quotes in each other, at most.
const DEPTH: u8 = 2;

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// Reads a packet and, after `--in`, an interface.
///
/// # Errors
/// When the words describe no packet: with what is wrong and how it is written.
pub fn parse(words: &str) -> Result<(Packet, Option<String>), WordsError> {
    let mut words = words.split_whitespace().peekable();
    let packet = packet(&mut words, DEPTH).map_err(WordsError)?;
    let interface = match words.next() {
        None => None,
        Some("--in" | "in") => match words.next() {
            Some(interface) => Some(interface.to_owned()),
            None => return Err(WordsError("after --in comes an interface".into())),
        },
        Some(word) => return Err(WordsError(format!("\"{word}\" is not expected there"))),
    };
    match words.next() {
        Some(word) => Err(WordsError(format!("\"{word}\" is not expected there"))),
        None => Ok((packet, interface)),
    }
}

fn packet(words: &mut Words<'_>, depth: u8) -> Result<Packet, String> {
    let protocol = words.next().ok_or("no packet")?.to_lowercase();
    let with_ports = match protocol.as_str() {
        "tcp" | "udp" | "gue" => true,
        "icmp" | "arp" | "ipip" => false,
        other => {
            return Err(format!(
                "\"{other}\" is not a protocol: tcp, udp, icmp, arp, ipip or gue"
            ));
        }
    };
    let source = end(words.next(), "source", with_ports)?;
    match words.next() {
        Some("->" | "→" | "to") => (),
        _ => return Err("after the source comes \"->\"".into()),
    }
    let destination = end(words.next(), "destination", with_ports)?;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err("source and destination are of different families".into());
    }
    let mut said = Said::default();
    while let Some(word) = words.peek().copied() {
        if matches!(word, "--in" | "in") {
            break;
        }
        words.next();
        if matches!(word, "quoting" | "carrying") {
            if depth == 0 {
                return Err("so many packets in one another are not traced".into());
            }
            said.inside = Some((word.to_owned(), packet(words, depth - 1)?));
            break;
        }
        said.word(word, words)?;
    }
    said.packet(&protocol, source, destination)
}

fn end(word: Option<&str>, what: &str, with_port: bool) -> Result<SocketAddr, String> {
    let word = word.ok_or_else(|| format!("no {what}"))?;
    if with_port {
        return word
            .parse()
            .map_err(|_| format!("\"{word}\" is not an address and port"));
    }
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, 0)),
        Err(_) => Err(format!("\"{word}\" is not an address")),
    }
}

/// What is said after the addresses.
#[derive(Debug, Default)]
struct Said {
    flags: Option<u8>,
    reply: bool,
    message: Option<Message>,
    ttl: Option<u8>,
    df: Option<bool>,
    length: Option<u16>,
    fragment: Option<Fragment>,
    vlans: Vec<u16>,
    to: Option<[u8; 6]>,
    inside: Option<(String, Packet)>,
}

impl Said {
    fn word(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), String> {
        let lower = word.to_lowercase();
        if let Some(bit) = FLAGS.iter().position(|flag| *flag == lower) {
            self.flags = Some(self.flags.unwrap_or(0) | 1 << bit);
            return Ok(());
        }
        match lower.as_str() {
            "no-flags" => self.flags = Some(0),
            "ttl" => self.ttl = Some(number(word, words, 255)? as u8),
            "df" => self.df = Some(true),
            "no-df" => self.df = Some(false),
            "length" => self.length = Some(number(word, words, u16::MAX)?),
            "vlan" => self.vlans.push(number(word, words, 4095)?),
            "fragment" => self.fragment = Some(fragment(words)?),
            "to" => self.to = Some(mac(words.next())?),
            "echo" => (),
            "echo-reply" => self.reply = true,
            "unreachable" => self.message = Some(Message::Unreachable),
            "port-unreachable" => self.message = Some(Message::PortUnreachable),
            "time-exceeded" => self.message = Some(Message::TimeExceeded),
            "too-big" => self.message = Some(Message::TooBig(number(word, words, u16::MAX)?)),
            _ => return Err(format!("\"{word}\" says nothing about a packet")),
        }
        Ok(())
    }

    fn packet(
        self,
        protocol: &str,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Packet, String> {
        let (from, to) = (source.port(), destination.port());
        let icmp = self.reply || self.message.is_some();
        if icmp && protocol != "icmp" {
            return Err("messages such as unreachable are for icmp only".into());
        }
        if self.flags.is_some() && protocol != "tcp" {
            return Err("flags are for tcp only".into());
        }
        if protocol == "arp" && (self.ttl, self.df, self.length) != (None, None, None) {
            return Err("arp has neither ttl, df nor length".into());
        }
        if self.vlans.len() > 3 {
            return Err("more than three VLAN tags are not traced".into());
        }
        let kind = match (protocol, self.message, self.inside) {
            ("tcp", _, None) => Kind::Tcp(from, to, self.flags.unwrap_or(SYN)),
            ("udp", _, None) => Kind::Udp(from, to),
            ("arp", _, None) => Kind::Arp,
            ("icmp", None, None) if self.reply => Kind::EchoReply,
            ("icmp", None, None) => Kind::Echo,
            ("icmp", Some(message), Some((word, about))) if word == "quoting" => {
                Kind::Error(message, Box::new(about))
            }
            ("icmp", Some(message), None) => {
                return Err(format!(
                    "an ICMP error quotes the packet it is about: {message} quoting tcp … -> …"
                ));
            }
            ("ipip", _, Some((word, inner))) if word == "carrying" => Kind::Ipip(Box::new(inner)),
            ("gue", _, Some((word, inner))) if word == "carrying" => {
                Kind::Gue(from, to, Box::new(inner))
            }
            ("ipip" | "gue", _, None) => {
                return Err(format!("{protocol} carries a packet: carrying tcp … -> …"));
            }
            (_, _, Some((word, _))) => {
                return Err(format!("\"{word}\" is not expected after {protocol}"));
            }
            _ => return Err(format!("\"{protocol}\" is not expected there")),
        };
        if let Kind::Error(_, inside) | Kind::Ipip(inside) | Kind::Gue(_, _, inside) = &kind
            && (inside.kind == Kind::Arp || !inside.vlans.is_empty() || inside.to.is_some())
        {
            return Err("the packet inside is an IP packet: no arp, vlan or MAC address".into());
        }
        if let Kind::Error(_, about) = &kind
            && about.is_ipv6() != source.is_ipv6()
        {
            return Err("an ICMP error and what it quotes are of one family".into());
        }
        let ipv6 = source.is_ipv6();
        Ok(Packet {
            kind,
            source: source.ip(),
            destination: destination.ip(),
            ttl: self.ttl.unwrap_or(TTL),
            df: !ipv6
                && protocol != "arp"
                && self.df.unwrap_or(Packet::default_df(ipv6, self.fragment)),
            length: self.length,
            fragment: self.fragment,
            vlans: self.vlans,
            to: self.to,
        })
    }
}

fn number(what: &str, words: &mut Words<'_>, most: u16) -> Result<u16, String> {
    let wanted = || format!("after {what} comes a number from 0 to {most}");
    let number: u16 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(wanted)?;
    if number > most {
        Err(wanted())
    } else {
        Ok(number)
    }
}

fn fragment(words: &mut Words<'_>) -> Result<Fragment, String> {
    let offset = match words.next() {
        Some("first") => Some(0),
        Some(word) => u16::from_str(word).ok().filter(|offset| offset % 8 == 0),
        None => None,
    };
    let form = "after fragment comes \"first\", or the offset in bytes, a multiple of 8";
    offset
        .map(|offset| Fragment { offset })
        .ok_or_else(|| form.into())
}

fn mac(word: Option<&str>) -> Result<[u8; 6], String> {
    let wrong = || "after \"to\" comes a MAC address such as 02:00:00:00:00:01".to_owned();
    let mut mac = [0; 6];
    let mut parts = word.ok_or_else(wrong)?.split(':');
    for byte in &mut mac {
        let part = parts.next().ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() {
        Err(wrong())
    } else {
        Ok(mac)
    }
}
