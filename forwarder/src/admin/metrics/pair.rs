//! Metrics of the pair.

use super::Sample;
use super::catalogue as metric;
use super::exposition::Page;
use crate::admin::api::PairStatus;
use crate::config::model;
use crate::core::pair::claim::Role;
use crate::core::pair::wire::Refusal;

const HEALTH: [&str; 4] = ["sound", "degraded", "isolated", "unknown"];
const PATHS: [&str; 3] = ["up", "down", "unknown"];

/// A node on its own has no samples of these.
pub fn pair(page: &mut Page, sample: &Sample) {
    let pair = sample.status.pair.as_ref();
    groups(page, sample);
    let own = sample.status.node.as_deref().unwrap_or_default();
    nodes(page, own, pair);
    paths(page, pair);
    witness(page, pair);
    let mut family = page.family(&metric::PAIR_REFUSED);
    for reason in Refusal::ALL.map(Refusal::word) {
        if let Some(pair) = pair {
            let count = pair.refused.get(reason).copied().unwrap_or(0);
            family.sample([reason], count);
        }
    }
}

fn witness(page: &mut Page, pair: Option<&PairStatus>) {
    let witness = pair.and_then(|pair| pair.witness.as_ref());
    let mut family = page.family(&metric::PAIR_WITNESS_UP);
    if let Some((witness, answers)) = witness.and_then(|each| Some((each, each.answers?))) {
        family.sample([&witness.kind], u8::from(answers));
    }
    let mut family = page.family(&metric::PAIR_WITNESS_LEASE);
    if let Some(witness) = witness {
        family.sample([&witness.kind], u8::from(witness.holds));
    }
}

/// Ports that tell whether this node is active.
pub fn probes(page: &mut Page, sample: &Sample) {
    let probes = &sample.status.probes;
    let mut family = page.family(&metric::PROBE_OPEN);
    for probe in probes {
        family.sample([&probe.port.to_string()], u8::from(probe.open));
    }
    let mut family = page.family(&metric::PROBES);
    for probe in probes {
        let port = probe.port.to_string();
        family.sample([&port, "active"], probe.told_active);
        family.sample([&port, "standby"], probe.told_standby);
    }
}

fn groups(page: &mut Page, sample: &Sample) {
    let pair = sample.status.pair.as_ref();
    let groups = pair.map_or(&[][..], |pair| &pair.groups);
    let mut family = page.family(&metric::GROUP_ROLE);
    for group in groups {
        family.states([&group.name], &Role::ALL.map(Role::word), &group.role);
    }
    let mut family = page.family(&metric::GROUP_EPOCH);
    for group in groups {
        family.sample([&group.name], group.epoch);
    }
    let record = sample.record.as_ref();
    let mut family = page.family(&metric::ROLE_CHANGES);
    for (group, record) in groups.iter().zip(record.into_iter().cycle()) {
        for (cause, count) in record.changes(model::Group::id(&group.name)) {
            family.sample([&group.name, cause.word()], count);
        }
    }
    let mut family = page.family(&metric::ROLE_CHANGE_PHASE);
    for (phase, times) in record.into_iter().flat_map(|record| record.phases()) {
        family.histogram([phase.word()], &times);
    }
}

fn nodes(page: &mut Page, own: &str, pair: Option<&PairStatus>) {
    let mut family = page.family(&metric::PAIR_HEALTH);
    if let Some(pair) = pair {
        family.states([own], &HEALTH, &pair.health);
        let health = pair.peer.health.as_deref().unwrap_or("unknown");
        family.states([&pair.peer.name], &HEALTH, health);
    }
    let mut family = page.family(&metric::PAIR_MAINTENANCE);
    if let Some(pair) = pair {
        family.sample([own], u8::from(pair.maintenance));
        if let Some(maintenance) = pair.peer.maintenance {
            family.sample([&pair.peer.name], u8::from(maintenance));
        }
    }
    let mut family = page.family(&metric::PAIR_SAME_CONFIG);
    if let Some(same) = pair.and_then(|pair| pair.peer.same_config) {
        family.sample([], u8::from(same));
    }
}

fn paths(page: &mut Page, pair: Option<&PairStatus>) {
    let paths = pair.map_or(&[][..], |pair| &pair.paths);
    let ends = |path: &crate::admin::api::PairPath| (path.own.to_string(), path.peer.to_string());
    let mut family = page.family(&metric::PAIR_PATH_STATE);
    for path in paths {
        let (own, peer) = ends(path);
        family.states([&own, &peer], &PATHS, &path.state);
    }
    let mut family = page.family(&metric::PAIR_PATH_ROUND_TRIP);
    for path in paths {
        let (own, peer) = ends(path);
        if let Some(time) = path.round_trip_microseconds {
            family.sample([&own, &peer], time as f64 / 1e6);
        }
    }
    let mut family = page.family(&metric::PAIR_PATH_LOST);
    for path in paths {
        let (own, peer) = ends(path);
        family.sample([&own, &peer], f64::from(path.lost_percent) / 100.0);
    }
}
