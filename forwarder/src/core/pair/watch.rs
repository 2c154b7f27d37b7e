//! What an operator ought to know of the pair.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::View;
use super::claim::Health;
use super::liveness::PathState;
use super::wire::Refusal;

/// Between two lines about datagrams that were refused.
const INTERVAL: Duration = Duration::from_secs(60);

/// The names of both nodes, and where the paths end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// This node.
    pub own: String,
    /// The other one.
    pub peer: String,
    /// The ends of each path, the own one first.
    pub paths: Vec<(IpAddr, IpAddr)>,
    /// The groups, by id.
    pub groups: BTreeMap<u16, String>,
}

/// What is not as it should be.
pub fn problems(view: &View, names: &Names) -> Vec<String> {
    let Names { own, peer, .. } = names;
    let mut problems = Vec::new();
    if view.maintenance {
        problems.push(format!("{own} is in maintenance"));
    }
    if view.health != Health::Sound {
        problems.push(format!("{own} is {}", view.health.word()));
    }
    if view.waits {
        problems.push(format!(
            "{own} may not be active without {peer}; if that is not active for certain: forwarder failover --to {own}"
        ));
    }
    let down = |state| state == PathState::Down;
    match &view.peer {
        None => problems.push(format!("nothing is heard of {peer}")),
        Some(_) if view.paths.iter().all(|path| down(path.state)) => {
            problems.push(format!("{peer} answers on no path"));
        }
        Some(said) => {
            let paths = view.paths.iter().zip(&names.paths);
            for (path, (here, there)) in paths {
                if down(path.state) {
                    problems.push(format!("path {here} - {there} is down"));
                }
                // Said beside the other: it is down now and then.
                if path.loses {
                    problems.push(format!("path {here} - {there} loses echoes"));
                }
            }
            if said.health != Health::Sound {
                problems.push(format!("{peer} is {}", said.health.word()));
            }
            if said.maintenance {
                problems.push(format!("{peer} is in maintenance"));
            }
            if said.config != view.config {
                problems.push(format!("{own} and {peer} have different configurations"));
            }
            let unknown = view.groups.iter().filter(|group| group.peer.is_none());
            for name in unknown.filter_map(|group| names.groups.get(&group.id)) {
                problems.push(format!("{peer} does not know the group {name}"));
            }
            if said.version != view.version {
                let [one, other] = [view.version, said.version].map(version);
                problems.push(format!("{own} runs version {one}, {peer} {other}"));
            }
        }
    }
    problems
}

/// A version as people write it.
pub fn version([major, minor, patch]: [u16; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

/// Tells of refused datagrams: at once, and then once per interval.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    forged: u64,
    told: BTreeMap<Refusal, u64>,
    next: Duration,
}

impl Refused {
    /// Whether there were more that were not authentic since this was asked last.
    pub fn counts_forged(&mut self, counts: &BTreeMap<Refusal, u64>) -> bool {
        let now = counts.get(&Refusal::Forged).copied().unwrap_or(0);
        now > std::mem::replace(&mut self.forged, now)
    }

    /// What to log of these counts, and whether a stranger or a wrong key may be behind it: the peer
    /// itself sends what is overtaken, and begins as a stranger after each start.
    pub fn line(
        &mut self,
        counts: &BTreeMap<Refusal, u64>,
        now: Duration,
    ) -> Option<(bool, String)> {
        if now < self.next || *counts == self.told {
            return None;
        }
        self.next = now + INTERVAL;
        let mut parts = Vec::new();
        let mut strange = false;
        for (refusal, count) in counts {
            let before = self.told.insert(*refusal, *count).unwrap_or(0);
            if *count > before {
                parts.push(format!("{} {}", count - before, refusal));
                strange |= !matches!(
                    refusal,
                    Refusal::Replayed | Refusal::Unacquainted | Refusal::Stale
                );
            }
        }
        let text = format!("datagrams refused: {}", parts.join(", "));
        Some((strange, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_per_interval_with_what_is_new() {
        let mut refused = Refused::default();
        let mut counts = BTreeMap::new();
        let at = Duration::from_secs;
        assert_eq!(refused.line(&counts, at(100)), None);
        counts.insert(Refusal::Replayed, 2);
        let line = refused.line(&counts, at(100)).expect("a line");
        assert_eq!(
            line,
            (false, "datagrams refused: 2 replayed or overtaken".into())
        );
        counts.insert(Refusal::Forged, 5);
        assert_eq!(refused.line(&counts, at(159)), None);
        counts.insert(Refusal::Forged, 7);
        let line = refused.line(&counts, at(160)).expect("a line");
        assert_eq!(line, (true, "datagrams refused: 7 not authentic".into()));
        assert_eq!(refused.line(&counts, at(900)), None);
        assert_eq!(
            [0; 2].map(|_| refused.counts_forged(&counts)),
            [true, false]
        );
    }
}
