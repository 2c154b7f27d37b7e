//! What `status` shows.

use std::collections::BTreeMap;

use forwarder_common::Counter;

use super::Node;
use crate::admin::api::{
    Backend, Count, Health, Interface, NextHop, Pool, ReasonCount, Status, VirtualServer,
};
use crate::config::model;
use crate::core::compile::BackendKey;
use crate::core::health;
use crate::core::key::{mac_bytes, mac_text};
use crate::dataplane::{Counters, DataPlane as _};
use crate::io::clock;

pub fn status(node: &mut Node) -> Result<Status, String> {
    let counters = node.bpf.counters().map_err(|error| error.to_string())?;
    Ok(with_counters(node, &counters))
}

/// The same with counters that were read.
pub fn with_counters(node: &mut Node, counters: &Counters) -> Status {
    let model = node.model.clone();
    let facts = node.host.facts(&model);
    let attached: Vec<_> = node.bpf.attached().collect();
    let interfaces = model.interfaces.iter().map(|interface| {
        let slot = node.state.interface(&interface.device);
        let device = facts.devices.get(&interface.device);
        let attached = attached
            .iter()
            .find(|attached| attached.device == interface.device);
        Interface {
            name: interface.name.clone(),
            device: interface.device.clone(),
            mode: attached.map(|attached| attached.mode.to_string()),
            frags: attached.is_some_and(|attached| attached.frags),
            driver: attached
                .map(|attached| attached.driver.clone())
                .unwrap_or_default(),
            mac: device
                .map(|device| mac_text(device.mac))
                .unwrap_or_default(),
            mtu: device.map_or(0, |device| device.mtu),
            addresses: device
                .map(|device| device.addresses.iter().map(|own| own.address).collect())
                .unwrap_or_default(),
            reasons: slot.map_or_else(Vec::new, |slot| reasons(counters, slot)),
        }
    });
    let mut problems: Vec<String> = node.notes.all().map(ToString::to_string).collect();
    problems.extend(node.failure.clone());
    problems.extend(node.pair_problems());
    problems.extend(node.cloud.problems());
    let not_attached = node.not_attached.iter();
    problems.extend(not_attached.map(|(device, why)| format!("{device}: not attached: {why}")));
    problems.extend(node.checks.late().map(|late| {
        format!("health checks are late, by up to {late:.1?}: raise interval, or the limit of open files")
    }));
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: model.node.as_ref().map(|node| node.name.clone()),
        config: node.running.file.display().to_string(),
        config_hash: node.running.hash.clone(),
        config_generation: node.generation,
        config_error: node.config_error.clone(),
        uptime_seconds: clock::monotonic().saturating_sub(node.started).as_secs(),
        pair: node.pair_status(),
        probes: node.probes(),
        interfaces: interfaces.collect(),
        virtual_servers: model
            .virtual_servers
            .iter()
            .map(|server| virtual_server(node, counters, server))
            .collect(),
        pools: model
            .pools
            .iter()
            .map(|pool| Pool {
                name: pool.name.clone(),
                backends: pool
                    .backends
                    .iter()
                    .map(|member| backend(node, counters, &pool.name, member))
                    .collect(),
            })
            .collect(),
        problems,
    }
}

/// One line about how it goes.
pub fn summary(node: &Node) -> String {
    let model = &node.model;
    let backends: usize = model.pools.iter().map(|pool| pool.backends.len()).sum();
    let up = backends.saturating_sub(node.checks.down(model).len());
    let problems = node.notes.all().count()
        + node.pair_problems().len()
        + node.cloud.problems().len()
        + node.not_attached.len()
        + usize::from(node.failure.is_some());
    format!(
        "{} virtual servers on {} interfaces, {up} of {backends} backends up, {problems} problems",
        model.virtual_servers.len(),
        node.bpf.attached().count(),
    )
}

fn reasons(counters: &Counters, slot: u32) -> Vec<ReasonCount> {
    let range = counters
        .interfaces
        .range((slot, forwarder_common::Reason::ALL[0])..);
    range
        .take_while(|((at, _), _)| *at == slot)
        .map(|((_, reason), counter)| ReasonCount {
            reason: reason.name().to_owned(),
            count: (*counter).into(),
        })
        .collect()
}

fn virtual_server(
    node: &Node,
    counters: &Counters,
    server: &model::VirtualServer,
) -> VirtualServer {
    let id = node.state.virtual_server(&server.name);
    let [r#in, out] = counts(id.and_then(|id| counters.virtual_servers.get(&id)));
    VirtualServer {
        name: server.name.clone(),
        address: server.address,
        port: server.port.to_string(),
        protocol: server.protocol.to_string(),
        mode: server.action.mode().name().to_owned(),
        pool: server.action.pool().map(str::to_owned),
        r#in,
        out,
    }
}

fn backend(node: &Node, counters: &Counters, pool: &str, backend: &model::Backend) -> Backend {
    let key = BackendKey::new(pool, backend);
    let index = node.state.backend(&key);
    let entry = index.and_then(|index| node.actual.backends.get(&index));
    let [r#in, out] = counts(index.and_then(|index| counters.backends.get(&index)));
    let known = node.checks.of(&key);
    Backend {
        name: backend.name.clone(),
        address: backend.address,
        port: backend.port.map(u16::from),
        weight: backend.weight,
        state: backend.state.to_string(),
        overrides: overrides(node, pool, backend),
        health: known.map_or_else(
            || "unchecked".to_owned(),
            |health| health.status().to_string(),
        ),
        health_error: known
            .filter(|health| health.status() == health::Status::Down)
            .map(|health| health.why().to_owned()),
        health_check: known.and_then(|known| health_check(node, pool, backend, known)),
        next_hop: entry
            .filter(|entry| entry.ifindex != 0)
            .map(|entry| NextHop {
                device: node.host.device(entry.ifindex).unwrap_or("?").to_owned(),
                mac: mac_text(mac_bytes(entry.destination_mac)),
            }),
        r#in,
        out,
    }
}

fn health_check(
    node: &Node,
    pool: &str,
    backend: &model::Backend,
    known: &health::Health,
) -> Option<Health> {
    let now = clock::monotonic();
    let check = backend.check.as_ref()?;
    let slow_start = node.model.pool(pool).and_then(|pool| pool.slow_start);
    let share = known.share(slow_start.unwrap_or_default(), now);
    let held = known.held_until(now);
    let last = known.last();
    let counts = known.counts();
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    Some(Health {
        name: check.health_check.clone(),
        address: check.address,
        port: check.port.map(u16::from),
        tunnelled: check.tunnelled.iter().map(ToString::to_string).collect(),
        reason: known.why().to_owned(),
        since_seconds: now.saturating_sub(known.since()).as_secs(),
        changes: known.changes(),
        flaps: known.flaps(),
        held_seconds: held.map(|until| until.saturating_sub(now).as_secs()),
        share_percent: (u16::from(share) * 100 / u16::from(health::FULL)) as u8,
        last_result: last.map(|last| last.kind().word().to_owned()),
        last_duration_microseconds: last
            .map(|last| u64::try_from(last.took.as_micros()).unwrap_or(u64::MAX)),
        results: counts
            .map(|(result, count)| (result.word().to_owned(), count))
            .collect(),
    })
}

/// What is not as the file has it, with the file's value.
fn overrides(node: &Node, pool: &str, backend: &model::Backend) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let file = node.running.model.pool(pool);
    let file = file.and_then(|pool| pool.backends.iter().find(|each| each.name == backend.name));
    if let (Some(file), Some(changed)) = (file, node.overrides.of(pool, &backend.name)) {
        if changed.state.is_some() {
            keys.insert("state".to_owned(), file.state.to_string());
        }
        if changed.weight.is_some() {
            keys.insert("weight".to_owned(), file.weight.to_string());
        }
    }
    keys
}

/// In and out.
pub fn counts(pair: Option<&[Counter; 2]>) -> [Count; 2] {
    pair.copied().unwrap_or_default().map(Count::from)
}
