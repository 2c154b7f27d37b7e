//! From a sample to a page of metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use forwarder_common::Reason;

use super::catalogue as metric;
use super::exposition::Page;
use super::{ROLES, Sample};
use crate::admin::api::{Backend, Count};
use crate::core::health::CheckResult;
use crate::io::pair::sync::SyncView;

const STATES: [&str; 4] = ["enabled", "forced", "drained", "disabled"];
const HEALTH: [&str; 4] = ["up", "down", "checking", "unchecked"];
const ATTACHMENTS: [&str; 3] = ["native", "generic", "none"];

/// Every metric.
pub fn page(sample: &Sample) -> String {
    let mut page = Page::default();
    node(&mut page, sample);
    super::pair::pair(&mut page, sample);
    super::pair::probes(&mut page, sample);
    super::cloud::cloud(&mut page, sample);
    interfaces(&mut page, sample);
    super::allowance::allowances(&mut page, &sample.allowances);
    virtual_servers(&mut page, sample);
    backends(&mut page, sample);
    health_checks(&mut page, sample);
    flows(&mut page, sample);
    sync(&mut page, sample);
    process(&mut page, sample);
    page.finish()
}

fn node(page: &mut Page, sample: &Sample) {
    let status = &sample.status;
    page.family(&metric::BUILD_INFO)
        .sample([&status.version], 1);
    page.family(&metric::START_TIME)
        .sample([], sample.started.as_secs_f64());
    let role = status.pair.as_ref().map_or("single", |pair| &pair.role);
    page.family(&metric::ROLE).states([], &ROLES, role);
    page.family(&metric::PROBLEMS)
        .sample([], status.problems.len());
    page.family(&metric::CONFIG_INFO)
        .sample([&status.config_hash], 1);
    page.family(&metric::CONFIG_GENERATION)
        .sample([], status.config_generation);
    page.family(&metric::RELOAD_SUCCESS)
        .sample([], u8::from(status.config_error.is_none()));
    page.family(&metric::RELOAD_TIME)
        .sample([], sample.reloaded.as_secs_f64());
}

/// Without a pair there is nothing to be told.
fn sync(page: &mut Page, sample: &Sample) {
    let sync = sample.status.pair.as_ref().map(|pair| pair.sync);
    let mut single = |metric, value: &dyn Fn(&SyncView) -> f64| {
        let mut family = page.family(metric);
        if let Some(sync) = &sync {
            family.sample([], value(sync));
        }
    };
    single(&metric::SYNC_SENT, &|sync| sync.sent.entries as f64);
    single(&metric::SYNC_APPLIED, &|sync| sync.sent.applied as f64);
    single(&metric::SYNC_RECEIVED, &|sync| sync.received as f64);
    single(&metric::SYNC_AGAIN, &|sync| sync.sent.again as f64);
    single(&metric::SYNC_STREAMS, &|sync| sync.sent.streams as f64);
    single(&metric::SYNC_WAITING, &|sync| sync.waiting as f64);
    single(&metric::SYNC_LAG, &|sync| {
        Duration::from_micros(sync.lag_microseconds).as_secs_f64()
    });
    single(&metric::SYNC_COMPLETE, &|sync| {
        f64::from(u8::from(sync.complete))
    });
    let mut family = page.family(&metric::SYNC_LOST);
    for sync in sync.iter() {
        family.sample(["unknown"], sync.unknown);
        family.sample(["foreign"], sync.foreign);
        family.sample(["no-room"], sync.no_room);
        family.sample(["events"], sync.events_lost);
    }
}

fn interfaces(page: &mut Page, sample: &Sample) {
    let interfaces = &sample.status.interfaces;
    let mut family = page.family(&metric::INTERFACE_ATTACHMENT);
    for interface in interfaces {
        let mode = interface.mode.as_deref().unwrap_or("none");
        family.states([&interface.name, &interface.device], &ATTACHMENTS, mode);
    }
    for (metric, part) in [
        (&metric::PACKETS, packets as fn(Count) -> u64),
        (&metric::BYTES, bytes),
    ] {
        let mut family = page.family(metric);
        for interface in interfaces {
            let counted = interface.reasons.iter();
            let counted: BTreeMap<&str, Count> = counted
                .map(|each| (each.reason.as_str(), each.count))
                .collect();
            for reason in Reason::ALL {
                let outcome = format!("{:?}", reason.outcome()).to_lowercase();
                let count = counted.get(reason.name()).copied().unwrap_or_default();
                family.sample([&interface.name, &outcome, reason.name()], part(count));
            }
        }
    }
}

fn virtual_servers(page: &mut Page, sample: &Sample) {
    let servers = &sample.status.virtual_servers;
    let mut family = page.family(&metric::VIRTUAL_SERVER_INFO);
    for server in servers {
        let labels = [
            &server.name,
            &server.address.to_string(),
            &server.port,
            &server.protocol,
            &server.mode,
            server.pool.as_deref().unwrap_or_default(),
        ];
        family.sample(labels, 1);
    }
    for (metric, part) in [
        (&metric::VIRTUAL_SERVER_PACKETS, packets as fn(Count) -> u64),
        (&metric::VIRTUAL_SERVER_BYTES, bytes),
    ] {
        let mut family = page.family(metric);
        for server in servers {
            family.sample([&server.name, "in"], part(server.r#in));
            family.sample([&server.name, "out"], part(server.out));
        }
    }
    for (metric, part) in [
        (&metric::EGRESS_PACKETS, packets as fn(Count) -> u64),
        (&metric::EGRESS_BYTES, bytes),
    ] {
        let mut family = page.family(metric);
        for rule in &sample.egress {
            family.sample([&rule.source, &rule.interface, "in"], part(rule.r#in));
            family.sample([&rule.source, &rule.interface, "out"], part(rule.out));
        }
    }
}

fn backends(page: &mut Page, sample: &Sample) {
    let each = |call: &mut dyn FnMut(&str, &Backend)| {
        for pool in &sample.status.pools {
            pool.backends.iter().for_each(|each| call(&pool.name, each));
        }
    };
    let mut family = page.family(&metric::BACKEND_STATE);
    each(&mut |pool, backend| family.states([pool, &backend.name], &STATES, &backend.state));
    let mut family = page.family(&metric::BACKEND_HEALTH);
    each(&mut |pool, backend| family.states([pool, &backend.name], &HEALTH, &backend.health));
    let mut family = page.family(&metric::BACKEND_WEIGHT);
    each(&mut |pool, backend| {
        family.sample([pool, &backend.name], backend.weight);
    });
    let mut family = page.family(&metric::BACKEND_RESOLVED);
    each(&mut |pool, backend| {
        let resolved = u8::from(backend.next_hop.is_some());
        family.sample([pool, &backend.name], resolved);
    });
    for (metric, part) in [
        (&metric::BACKEND_PACKETS, packets as fn(Count) -> u64),
        (&metric::BACKEND_BYTES, bytes),
    ] {
        let mut family = page.family(metric);
        each(&mut |pool, backend| {
            family.sample([pool, &backend.name, "in"], part(backend.r#in));
            family.sample([pool, &backend.name, "out"], part(backend.out));
        });
    }
}

fn health_checks(page: &mut Page, sample: &Sample) {
    let mut family = page.family(&metric::HEALTH_CHECKS);
    for checks in &sample.checks {
        for (result, count) in checks.counts.iter() {
            if count > 0 || result == CheckResult::Passed {
                family.sample([&checks.pool, &checks.backend, result.word()], count);
            }
        }
    }
    let mut family = page.family(&metric::HEALTH_CHECK_DURATION);
    for (pool, durations) in &sample.check_durations {
        family.histogram([pool], durations);
    }
}

fn flows(page: &mut Page, sample: &Sample) {
    let mut family = page.family(&metric::FLOW_ENTRIES);
    for map in &sample.flows {
        family.sample([map.kind, map.family], map.entries);
    }
    let mut family = page.family(&metric::FLOW_ENTRIES_LIMIT);
    for map in &sample.flows {
        family.sample([map.kind, map.family], map.limit);
    }
    let mut family = page.family(&metric::FLOW_ENTRIES_EXPIRED);
    for map in &sample.flows {
        family.sample([map.kind, map.family], map.expired);
    }
    let mut family = page.family(&metric::FLOW_ENTRIES_EVICTED);
    for map in &sample.flows {
        family.sample([map.kind, map.family], map.evicted);
    }
    let mut family = page.family(&metric::SNAT_PORTS);
    for pool in &sample.snat {
        for protocol in ["tcp", "udp"] {
            family.sample([&pool.name, &pool.family, protocol], pool.ports);
        }
    }
    let mut family = page.family(&metric::SNAT_PORTS_IN_USE);
    for pool in &sample.snat {
        family.sample([&pool.name, &pool.family, "tcp"], pool.tcp_in_use);
        family.sample([&pool.name, &pool.family, "udp"], pool.udp_in_use);
    }
    let mut family = page.family(&metric::SNAT_EXHAUSTED);
    for pool in &sample.snat {
        family.sample([&pool.name, &pool.family], packets(pool.exhausted));
    }
}

fn process(page: &mut Page, sample: &Sample) {
    let process = &sample.process;
    page.family(&metric::PROCESS_CPU)
        .sample([], process.cpu.as_secs_f64());
    page.family(&metric::PROCESS_MEMORY)
        .sample([], process.memory);
    page.family(&metric::PROCESS_FDS)
        .sample([], process.descriptors);
}

fn packets(count: Count) -> u64 {
    count.packets
}

fn bytes(count: Count) -> u64 {
    count.bytes
}
