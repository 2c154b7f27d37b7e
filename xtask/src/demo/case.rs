//! One mode, family and protocol: requests, and what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use forwarder_lab::client::{Answer, http, udp};
use forwarder_lab::site::{BACKENDS, ECHO, HTTP};
use forwarder_lab::{Family, Site};
use serde::Serialize;

/// The modes, in the order of `demo.toml`, with the last number of their VIPs.
pub const MODES: [(&str, u8); 6] = [
    ("l2-dsr", 11),
    ("ipip-dsr", 12),
    ("gue-dsr", 13),
    ("dnat", 14),
    ("full-nat", 15),
    ("local", 16),
];

/// Requests of every case.
const REQUESTS: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(1);
/// After so many in a row without an answer the rest of a case is not worth waiting for.
const HOPELESS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Tcp => HTTP,
            Self::Udp => ECHO,
        }
    }

    /// One request from a port of its own; for TCP, on a connection of its own.
    pub fn request(self, server: SocketAddr, timeout: Duration) -> anyhow::Result<Answer> {
        match self {
            Self::Tcp => http::get(server, "/", timeout),
            Self::Udp => udp::request(server, 100, timeout),
        }
    }
}

/// What is asked, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub mode: &'static str,
    pub family: Family,
    pub protocol: Protocol,
    pub server: SocketAddr,
}

/// Every case there is.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (mode, number) in MODES {
        for family in Family::ALL {
            for protocol in Protocol::ALL {
                let server = SocketAddr::new(family.vip(number), protocol.port());
                cases.push(Case {
                    mode,
                    family,
                    protocol,
                    server,
                });
            }
        }
    }
    cases
}

/// The VIPs of some modes, both families.
pub fn vips(which: impl Fn(&str) -> bool) -> Vec<IpAddr> {
    let modes = MODES.into_iter().filter(|(mode, _)| which(mode));
    modes
        .flat_map(|(_, number)| Family::ALL.map(|family| family.vip(number)))
        .collect()
}

/// What became of a case, as it is in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub mode: &'static str,
    pub family: String,
    pub protocol: &'static str,
    pub requests: usize,
    pub answered: usize,
    pub backends_hit: usize,
    pub client_address_kept: bool,
    /// Answers per server.
    #[serde(skip)]
    pub spread: BTreeMap<String, usize>,
    /// The clients that the servers saw.
    #[serde(skip)]
    pub clients: BTreeSet<IpAddr>,
    /// Why the first request failed that did.
    #[serde(skip)]
    pub first_error: Option<String>,
}

impl Case {
    /// Sends the requests from the site's client.
    pub fn run(&self, site: &Site) -> Outcome {
        let results = site.client.run(|| {
            let mut results = Vec::new();
            while results.len() < REQUESTS && !hopeless(&results) {
                results.push(self.protocol.request(self.server, TIMEOUT));
            }
            results
        });
        self.outcome(&results)
    }

    fn outcome(&self, results: &[anyhow::Result<Answer>]) -> Outcome {
        let answers: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().ok())
            .collect();
        let mut spread = BTreeMap::new();
        for answer in &answers {
            *spread.entry(answer.backend.clone()).or_default() += 1;
        }
        let first_error = results.iter().find_map(|result| result.as_ref().err());
        Outcome {
            mode: self.mode,
            family: self.family.to_string(),
            protocol: self.protocol.name(),
            requests: REQUESTS,
            answered: answers.len(),
            backends_hit: spread.len(),
            client_address_kept: !answers.is_empty()
                && answers.iter().all(|answer| answer.client_address_kept()),
            clients: answers.iter().map(|answer| answer.client.ip()).collect(),
            spread,
            first_error: first_error.map(|error| format!("{error:#}")),
        }
    }
}

fn hopeless(results: &[anyhow::Result<Answer>]) -> bool {
    results.len() >= HOPELESS && results.iter().rev().take(HOPELESS).all(Result::is_err)
}

impl Outcome {
    /// Whether it is what the mode promises.
    pub fn ok(&self) -> bool {
        let servers = if self.mode == "local" {
            1
        } else {
            BACKENDS.len()
        };
        self.answered == self.requests
            && self.backends_hit == servers
            && self.client_address_kept == (self.mode != "full-nat")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(backend: &str, client: &str) -> anyhow::Result<Answer> {
        Ok(Answer {
            backend: backend.to_owned(),
            client: client.parse()?,
            local: "198.51.100.7:4000".parse()?,
        })
    }

    #[test]
    fn there_is_a_case_for_everything_and_the_file_has_them_all() {
        let file = include_str!("demo.toml");
        assert_eq!(all().len(), 24);
        for case in all() {
            let (ip, port, protocol) = (case.server.ip(), case.server.port(), case.protocol.name());
            let line = format!("address = \"{ip}\", port = {port}, protocol = \"{protocol}\"");
            let found = file.lines().find(|text| text.contains(&line)).expect(&line);
            assert!(
                found.contains(&format!("mode = \"{}\"", case.mode)),
                "{found}"
            );
        }
    }

    #[test]
    fn an_outcome_counts_what_came_back() {
        let case = all()[0];
        let mut results: Vec<_> = (0..REQUESTS)
            .map(|number| answer(BACKENDS[number % 3], "198.51.100.7:4000"))
            .collect();
        let outcome = case.outcome(&results);
        assert!(outcome.ok());
        assert_eq!((outcome.backends_hit, outcome.spread["b1"]), (3, 67));
        results[5] = Err(anyhow::anyhow!("lost"));
        let outcome = case.outcome(&results);
        assert!(!outcome.ok());
        assert_eq!(
            (outcome.answered, outcome.first_error.as_deref()),
            (199, Some("lost"))
        );
        results[5] = answer("b1", "192.0.2.2:4000");
        assert!(!case.outcome(&results).client_address_kept);
        assert!(!case.outcome(&[]).client_address_kept);
    }
}
