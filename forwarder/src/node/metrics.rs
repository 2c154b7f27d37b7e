//! What the metrics are made from.

use super::{Node, flows, status};
use crate::admin::metrics::{Allowance, Checks, Egress, FlowMap, Process, Sample};
use crate::core::allowance::Allowances;
use crate::core::compile::{BackendKey, egress_name};
use crate::dataplane::bpf::expiry::MAPS;
use crate::dataplane::{Counters, DataPlane as _};
use crate::io::{ethtool, process};

pub fn sample(node: &mut Node) -> Result<Sample, String> {
    let counters = node.bpf.counters().map_err(|error| error.to_string())?;
    let durations = node.checks.durations();
    let check_durations = durations
        .map(|(pool, durations)| (pool.clone(), durations.clone()))
        .collect();
    Ok(Sample {
        status: status::with_counters(node, &counters),
        record: node.record(),
        cloud: node.cloud.counts(),
        started: node.started_at,
        reloaded: node.reloaded_at,
        allowances: allowances(node),
        egress: egress(node, &counters),
        checks: checks(node),
        check_durations,
        flows: flow_maps(node),
        snat: flows::pools(node, &counters),
        process: Process {
            cpu: process::cpu(),
            memory: process::memory(),
            descriptors: process::descriptors(),
        },
    })
}

/// The driver that counts them; asking others takes the kernel's time for nothing.
const COUNTS_ALLOWANCES: &str = "ena";

fn allowances(node: &Node) -> Vec<Allowance> {
    let attached: Vec<_> = node.bpf.attached().collect();
    let counts = |device: &str| {
        let mut of = attached.iter().filter(|each| each.device == device);
        of.any(|each| each.driver == COUNTS_ALLOWANCES)
    };
    let interfaces = node.model.interfaces.iter();
    let interfaces = interfaces.filter(|interface| counts(&interface.device));
    let read = interfaces.map(|interface| Allowance {
        interface: interface.name.clone(),
        allowances: Allowances::of(&ethtool::statistics(&interface.device)),
    });
    read.collect()
}

fn egress(node: &Node, counters: &Counters) -> Vec<Egress> {
    let rules = node.model.egress.iter();
    let counted = rules.map(|rule| {
        let name = egress_name(rule.source, &rule.interface);
        let id = node.state.virtual_server(&name);
        let [r#in, out] = status::counts(id.and_then(|id| counters.virtual_servers.get(&id)));
        Egress {
            source: rule.source.to_string(),
            interface: rule.interface.clone(),
            r#in,
            out,
        }
    });
    counted.collect()
}

fn checks(node: &Node) -> Vec<Checks> {
    let pools = node.model.pools.iter();
    let backends = pools.flat_map(|pool| pool.backends.iter().map(move |each| (pool, each)));
    let checked = backends.filter_map(|(pool, backend)| {
        let health = node.checks.of(&BackendKey::new(&pool.name, backend))?;
        Some(Checks {
            pool: pool.name.clone(),
            backend: backend.name.clone(),
            counts: health.counts(),
        })
    });
    checked.collect()
}

fn flow_maps(node: &Node) -> Vec<FlowMap> {
    let census = node.bpf.census();
    let limits = &node.model.limits;
    let maps = MAPS.into_iter().zip(&census.maps);
    let maps = maps.map(|([kind, family], map)| FlowMap {
        kind,
        family,
        entries: map.entries,
        limit: 2 * u64::from(match kind {
            "established" => limits.flows,
            _ => limits.embryonic_flows,
        }),
        expired: map.expired,
        evicted: map.evicted,
    });
    maps.collect()
}
