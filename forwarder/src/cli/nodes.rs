//! The two nodes of a pair, for people.

use std::time::Duration;

use super::table::{Look, Table};
use super::tables::duration;
use crate::admin::api::{PairStatus, Probe, Status};
use crate::core::time::utc;

/// The pair as one node sees it.
pub fn pair(pair: &PairStatus, own: &str, status: &Status, look: Look) -> String {
    let mut text = String::from("\nPair\n");
    text.push_str(&nodes(pair, own, status).render(look));
    text.push_str(&groups(pair, own).render(look));
    if let (None, Some(last)) = (&pair.peer.role, &pair.peer.last) {
        text.push_str(&format!(
            "  {} is silent since {}; it was {}, {}{}\n",
            pair.peer.name,
            duration(last.milliseconds_ago / 1_000),
            last.role.as_deref().unwrap_or("without a group"),
            last.health,
            if last.maintenance {
                ", in maintenance"
            } else {
                ""
            },
        ));
    }
    text.push_str(&paths(pair).render(look));
    if let Some(witness) = &pair.witness {
        let answers = match witness.answers {
            None => "not asked yet",
            Some(true) => "answers",
            Some(false) => "does not answer",
        };
        let holds = match witness.holds {
            true => "this node has the lease",
            false => "this node has no lease",
        };
        text.push_str(&format!("  {}: {answers}, {holds}\n", witness.kind));
    }
    text.push_str(&format!("  flows: {}\n", flows(pair)));
    for (reason, count) in &pair.refused {
        text.push_str(&format!("  {count} datagrams refused: {reason}\n"));
    }
    text
}

fn nodes(pair: &PairStatus, own: &str, status: &Status) -> Table {
    let mut table = Table::new(
        &["NODE", "ROLE", "HEALTH", "MAINTENANCE", "VERSION", "CONFIG"],
        &[],
    );
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let config = |hash: &str| hash.get(..12).unwrap_or_default().to_owned();
    table.row([
        format!("{own} (this)"),
        pair.role.clone(),
        pair.health.clone(),
        switch(pair.maintenance),
        status.version.clone(),
        config(&status.config_hash),
    ]);
    let peer = &pair.peer;
    let unknown = |word: &Option<String>| word.clone().unwrap_or_else(|| "?".to_owned());
    table.row([
        peer.name.clone(),
        unknown(&peer.role),
        unknown(&peer.health),
        unknown(&peer.maintenance.map(switch)),
        unknown(&peer.version),
        unknown(&peer.config_hash.as_deref().map(config)),
    ]);
    table
}

fn groups(pair: &PairStatus, own: &str) -> Table {
    let peer = pair.peer.name.to_uppercase();
    let own = own.to_uppercase();
    let headings = [
        "GROUP",
        &own,
        &peer,
        "EPOCH",
        "PRIORITY",
        "LATEST CHANGE HERE",
    ];
    let mut table = Table::new(&headings, &[3]);
    for group in &pair.groups {
        let other = group.peer_priority.map(|priority| priority.to_string());
        let latest = group.latest.as_ref().map(|latest| {
            let at = utc(latest.at_milliseconds);
            format!("{at} {}: {}", latest.role, latest.why)
        });
        table.row([
            group.name.clone(),
            group.role.clone(),
            group.peer_role.clone().unwrap_or_else(|| "?".to_owned()),
            group.epoch.to_string(),
            format!("{} / {}", group.priority, other.as_deref().unwrap_or("?")),
            latest.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn paths(pair: &PairStatus) -> Table {
    let headings = ["PATH", "STATE", "ROUND TRIP", "LOST", "ANSWERED BY"];
    let mut table = Table::new(&headings, &[2, 3]);
    for path in &pair.paths {
        let time = path.round_trip_microseconds;
        table.row([
            format!("{} - {}", path.own, path.peer),
            path.state.clone(),
            time.map_or_else(|| "-".to_owned(), |time| format!("{time} us")),
            format!("{} %", path.lost_percent),
            path.answered_by.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// Ports that tell whether this node is active.
pub fn probes(probes: &[Probe]) -> Table {
    let mut table = Table::new(
        &["PORT", "STATE", "ACTIVE", "STANDBY", "LAST PROBE", "FROM"],
        &[2, 3],
    );
    for probe in probes {
        let state = match (&probe.error, probe.open) {
            (Some(error), _) => error.clone(),
            (None, true) => "open".to_owned(),
            (None, false) => "closed".to_owned(),
        };
        table.row([
            format!("{} {}", probe.protocol, probe.port),
            state,
            probe.told_active.to_string(),
            probe.told_standby.to_string(),
            probe.last_at_milliseconds.map_or("-".to_owned(), utc),
            probe
                .last_from
                .map_or("-".to_owned(), |from| from.to_string()),
        ]);
    }
    table
}

/// How much one node knows of the other's flows.
fn flows(pair: &PairStatus) -> String {
    let sync = &pair.sync;
    let mut text = if pair.role == "standby" {
        let state = match sync.complete {
            true => "all that the peer has",
            false => "not all that the peer has",
        };
        format!("{state}, {} entries received", sync.received)
    } else {
        let state = match sync.complete {
            true => "the peer has all",
            false => "the peer does not have all",
        };
        let lag = Duration::from_micros(sync.lag_microseconds);
        match sync.heard {
            true => format!("{state}, {} entries wait ({lag:?})", sync.waiting),
            false => format!("{state}: it does not listen, and is told all when it does"),
        }
    };
    for (count, what) in [
        (sync.unknown, "unknown here"),
        (sync.foreign, "of a kind that only a later version knows"),
        (sync.no_room, "without room"),
        (sync.events_lost, "events lost"),
        (sync.refused, "datagrams refused"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}
