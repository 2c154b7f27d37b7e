//! A packet in words: `tcp 198.51.100.7:40112 -> 203.0.113.10:80`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};

/// What the words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
}

const FORM: &str = "write it in quotes, like this:\n  \
     \"tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0\"\n  \
     \"udp [2001:db8::7]:40112 -> [2001:db8::10]:53 --in eth0\"\n  \
     \"icmp 198.51.100.7 -> 203.0.113.10 --in eth0\"";

/// Reads a packet and, after `--in`, an interface.
pub fn parse(words: &str) -> Result<(Packet, Option<String>)> {
    let mut words = words.split_whitespace();
    let protocol = words
        .next()
        .with_context(|| format!("no packet; {FORM}"))?
        .to_lowercase();
    ensure!(
        matches!(protocol.as_str(), "tcp" | "udp" | "icmp"),
        "\"{protocol}\" is not a protocol: tcp, udp or icmp; {FORM}"
    );
    let with_ports = protocol != "icmp";
    let source = end(words.next(), "source", with_ports)?;
    match words.next() {
        Some("->" | "→" | "to") => (),
        _ => bail!("after the source comes \"->\"; {FORM}"),
    }
    let destination = end(words.next(), "destination", with_ports)?;
    ensure!(
        source.0.is_ipv4() == destination.0.is_ipv4(),
        "source and destination are of different families"
    );
    let interface = match words.next() {
        None => None,
        Some("--in" | "in") => Some(
            words
                .next()
                .context("after --in comes an interface")?
                .to_owned(),
        ),
        Some(word) => bail!("\"{word}\" is not expected there; {FORM}"),
    };
    if let Some(word) = words.next() {
        bail!("\"{word}\" is not expected there; {FORM}");
    }
    Ok((
        Packet {
            protocol,
            source,
            destination,
        },
        interface,
    ))
}

fn end(word: Option<&str>, what: &str, with_port: bool) -> Result<(IpAddr, u16)> {
    let word = word.with_context(|| format!("no {what}; {FORM}"))?;
    if with_port {
        return match word.parse::<SocketAddr>() {
            Ok(end) => Ok((end.ip(), end.port())),
            Err(_) => bail!("\"{word}\" is not an address and port; {FORM}"),
        };
    }
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(address) => Ok((address, 0)),
        Err(_) => bail!("\"{word}\" is not an address; {FORM}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_packets() {
        let (packet, interface) =
            parse("tcp 198.51.100.7:40112 -> 203.0.113.10:80 --in eth0").expect("a packet");
        assert_eq!(packet.protocol, "tcp");
        assert_eq!(packet.source, ("198.51.100.7".parse().expect("v4"), 40112));
        assert_eq!(
            packet.destination,
            ("203.0.113.10".parse().expect("v4"), 80)
        );
        assert_eq!(interface.as_deref(), Some("eth0"));
        let (packet, interface) =
            parse("UDP [2001:db8::7]:1 -> [2001:db8::8]:2").expect("a packet");
        assert_eq!(
            (packet.protocol.as_str(), packet.source.1, interface),
            ("udp", 1, None)
        );
        assert!(parse("icmp 192.0.2.1 -> 192.0.2.2").is_ok());
        assert!(parse("icmp [2001:db8::1] -> 2001:db8::2").is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        for (words, says) in [
            ("", "no packet"),
            ("sctp 1.2.3.4:1 -> 1.2.3.4:2", "not a protocol"),
            ("tcp 1.2.3.4 -> 1.2.3.4:2", "not an address and port"),
            ("tcp 1.2.3.4:1 1.2.3.4:2", "comes \"->\""),
            ("tcp 1.2.3.4:1 ->", "no destination"),
            ("tcp 1.2.3.4:1 -> [::1]:2", "different families"),
            ("tcp 1.2.3.4:1 -> 1.2.3.4:99999", "not an address and port"),
            ("tcp 1.2.3.4:1 -> 1.2.3.4:2 --in", "comes an interface"),
            ("tcp 1.2.3.4:1 -> 1.2.3.4:2 out eth0", "not expected"),
            ("tcp 1.2.3.4:1 -> 1.2.3.4:2 --in a b", "not expected"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.to_string().contains(says), "{words}: {error}");
        }
    }
}
