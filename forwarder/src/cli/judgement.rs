//! Whether all is well: for people, and for monitoring systems that run a command.

use std::fmt::{self, Display, Formatter};

use super::tables::is_usable;
use crate::admin::api::Status;

/// How well things are; the exit codes of monitoring plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok = 0,
    /// Traffic flows, and something needs a look.
    Warning = 1,
    /// Traffic is lost.
    Critical = 2,
    /// Nobody answers.
    Unknown = 3,
}

/// A level and what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The worst of all problems.
    pub level: Level,
    problems: Vec<(Level, String)>,
    /// What there is.
    summary: String,
}

impl Judgement {
    /// Judges a status.
    pub fn of(status: &Status) -> Self {
        let mut problems = Vec::new();
        for interface in status.interfaces.iter().filter(|each| each.mode.is_none()) {
            let text = format!("interface {}: not attached", interface.name);
            problems.push((Level::Critical, text));
        }
        for server in &status.virtual_servers {
            let pool = status.pools.iter();
            let pool = pool.filter(|pool| Some(&pool.name) == server.pool.as_ref());
            if pool.flat_map(|pool| &pool.backends).any(is_usable) || server.pool.is_none() {
                continue;
            }
            let text = format!("virtual server {}: no usable backend", server.name);
            problems.push((Level::Critical, text));
        }
        for pool in &status.pools {
            for backend in pool.backends.iter().filter(|each| each.health == "down") {
                let why = backend.health_error.as_deref().unwrap_or("no reason known");
                let text = format!("backend {}/{}: down: {why}", pool.name, backend.name);
                problems.push((Level::Warning, text));
            }
        }
        if status.config_error.is_some() {
            let text = "the last reload changed nothing".to_owned();
            problems.push((Level::Warning, text));
        }
        let others = status.problems.iter();
        problems.extend(others.map(|text| (Level::Warning, text.clone())));
        // Stable: what weighs most comes first, else the order above.
        problems.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        let backends = || status.pools.iter().flat_map(|pool| &pool.backends);
        Self {
            level: problems.first().map_or(Level::Ok, |(level, _)| *level),
            problems,
            summary: format!(
                "{} virtual servers, {} of {} backends usable",
                status.virtual_servers.len(),
                backends().filter(|each| is_usable(each)).count(),
                backends().count()
            ),
        }
    }

    /// No status could be had.
    pub fn unknown(why: &str) -> Self {
        let why = why.lines().next().unwrap_or_default().to_owned();
        Self {
            level: Level::Unknown,
            problems: vec![(Level::Unknown, why.clone())],
            summary: why,
        }
    }

    /// What is not well, the worst first.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|(_, text)| text.as_str())
    }
}

/// One line, as monitoring plugins print it.
impl Display for Judgement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        };
        write!(f, "FORWARDER {word} - {}", self.summary)?;
        if self.level == Level::Unknown {
            return Ok(());
        }
        for (_, problem) in self.problems.iter().take(3) {
            write!(f, "; {problem}")?;
        }
        match self.problems.len() {
            0..=3 => Ok(()),
            more => write!(f, "; and {} more", more - 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(backends: &[(&str, &str)], attached: Option<&str>, problems: &[&str]) -> Status {
        let count = json!({ "packets": 0, "bytes": 0 });
        let backends = backends.iter().enumerate().map(|(n, (state, health))| {
            json!({
                "name": format!("b{n}"), "address": "192.0.2.1", "port": null, "weight": 1,
                "state": state, "overrides": {}, "health": health,
                "health_error": (*health == "down").then_some("refused"),
                "next_hop": null, "in": count, "out": count,
            })
        });
        let status = json!({
            "version": "1", "node": null, "config": "f", "config_hash": "", "config_generation": 1,
            "config_error": null, "uptime_seconds": 1, "problems": problems, "probes": [],
            "interfaces": [{
                "name": "i", "device": "eth0", "mode": attached, "frags": false, "driver": "veth",
                "mac": "", "mtu": 1500, "addresses": [], "reasons": [],
            }],
            "virtual_servers": [{
                "name": "v", "address": "203.0.113.1", "port": "80", "protocol": "tcp",
                "mode": "dnat", "pool": "p", "in": count, "out": count,
            }],
            "pools": [{ "name": "p", "backends": backends.collect::<Vec<_>>() }],
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn judges_what_matters() {
        let up = ("enabled", "up");
        for (backends, attached, problems, level, says) in [
            (
                vec![up, up],
                Some("native"),
                vec![],
                Level::Ok,
                "OK - 1 virtual servers, 2 of 2 backends usable",
            ),
            (
                vec![up, ("drained", "up")],
                Some("native"),
                vec![],
                Level::Ok,
                "1 of 2",
            ),
            (
                vec![up, ("enabled", "down")],
                Some("native"),
                vec![],
                Level::Warning,
                "backend p/b1: down: refused",
            ),
            (
                vec![up],
                Some("native"),
                vec!["x is y"],
                Level::Warning,
                "WARNING - 1 virtual servers, 1 of 1 backends usable; x is y",
            ),
            (
                vec![("enabled", "down")],
                Some("native"),
                vec![],
                Level::Critical,
                "usable; virtual server v: no usable backend; backend p/b0",
            ),
            (
                vec![("disabled", "unchecked")],
                Some("native"),
                vec![],
                Level::Critical,
                "no usable backend",
            ),
            (
                vec![up],
                None,
                vec!["x"],
                Level::Critical,
                "interface i: not attached; x",
            ),
            (
                vec![up],
                Some("native"),
                vec!["1", "2", "3", "4", "5"],
                Level::Warning,
                "; 3; and 2 more",
            ),
        ] {
            let judgement = Judgement::of(&status(&backends, attached, &problems));
            assert_eq!(judgement.level, level, "{judgement}");
            let line = judgement.to_string();
            assert!(line.contains(says), "{line}");
            assert_eq!(line.lines().count(), 1);
        }
        let unknown = Judgement::unknown("nobody\nthere").to_string();
        assert_eq!(unknown, "FORWARDER UNKNOWN - nobody");
    }
}
