//! NAT flows and SNAT ports, for whoever asks.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use forwarder_common::flow::SECOND_SHIFT;
use forwarder_common::{Reason, protocol};

use super::Node;
use crate::admin::api::{Count, Flow, FlowQuery, Flows, Snat, SnatPool};
use crate::core::compile::{SnatKey, egress_name};
use crate::dataplane::bpf::expiry::{FlowMaps, Idle};
use crate::dataplane::bpf::flows::{Filter, Found, State, count, list};
use crate::dataplane::{Counters, DataPlane as _};
use crate::io::clock;

/// Flows that are shown unless more are asked for.
const SHOWN: usize = 100;

/// All that it takes to look through the flows without the node.
#[derive(Debug)]
pub struct FlowView {
    maps: Arc<FlowMaps>,
    rules: BTreeMap<u32, String>,
    backends: BTreeMap<u32, String>,
}

impl FlowView {
    /// As things are now.
    pub(super) fn of(node: &Node) -> Self {
        let rules = node.state.virtual_servers();
        let backends = node.state.backends();
        let backends = backends.map(|(key, index)| (index, format!("{}/{}", key.pool, key.end())));
        Self {
            maps: node.bpf.flow_maps(),
            rules: rules.map(|(name, id)| (id, name.to_owned())).collect(),
            backends: backends.collect(),
        }
    }

    /// Looks through the flows; this takes a while.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn look(&self, query: &FlowQuery) -> Result<Flows, String> {
        let states = [State::HalfOpen, State::Established, State::Closing];
        let state = query.state.as_deref();
        let filter = Filter {
            address: query.address,
            port: query.port,
            state: states.into_iter().find(|each| Some(each.word()) == state),
        };
        let now = clock::coarse_monotonic();
        let failed = |error: std::io::Error| format!("the flows cannot be read: {error}");
        let mut flows = Flows::default();
        if query.count {
            flows.count = Some(count(&self.maps, &filter).map_err(failed)?);
            return Ok(flows);
        }
        let limit = query.limit.map_or(SHOWN, |limit| limit as usize);
        let listed = list(&self.maps, &filter, now, |found| {
            if flows.flows.len() == limit {
                flows.more = true;
                return ControlFlow::Break(());
            }
            flows.flows.push(self.flow(&found));
            ControlFlow::Continue(())
        });
        listed.map_err(failed)?;
        Ok(flows)
    }

    fn flow(&self, found: &Found) -> Flow {
        let [client, destination] = found.ends;
        let [source, to] = found.translated;
        let rule = self.rules.get(&found.id);
        Flow {
            rule: rule.cloned().unwrap_or_else(|| "gone".to_owned()),
            protocol: match u8::try_from(found.protocol) {
                Ok(protocol::TCP) => "tcp".to_owned(),
                Ok(protocol::UDP) => "udp".to_owned(),
                _ => found.protocol.to_string(),
            },
            client,
            destination,
            source,
            to,
            backend: self.backends.get(&found.backend).cloned(),
            state: found.state.word().to_owned(),
            idle_seconds: found.idle.as_secs(),
        }
    }
}

/// SNAT pools and their ports.
pub fn snat(node: &Node) -> Result<Snat, String> {
    let counters = node.bpf.counters().map_err(|error| error.to_string())?;
    let exhausted = counters.interfaces.iter();
    let exhausted = exhausted.filter(|((_, reason), _)| *reason == Reason::DropSnatExhausted);
    let exhausted = exhausted.fold(Count::default(), |sum, (_, counter)| Count {
        packets: sum.packets + counter.packets,
        bytes: sum.bytes + counter.bytes,
    });
    Ok(Snat {
        pools: pools(node, &counters),
        exhausted,
    })
}

/// SNAT pools that are in the maps.
pub fn pools(node: &Node, counters: &Counters) -> Vec<SnatPool> {
    let census = node.bpf.census();
    let pools = node.state.snat_pools();
    let pools = pools.filter_map(|(key, index, addresses)| {
        let entry = node.actual.snat_pools.get(&index)?;
        let range = entry.port_low..=entry.port_high;
        let (mut tcp_in_use, mut udp_in_use) = (0, 0);
        for address in addresses {
            let [tcp, udp] = census.ports_in_use(address, range.clone());
            tcp_in_use += tcp;
            udp_in_use += udp;
        }
        let (name, ipv6) = match key {
            SnatKey::Pool { name, ipv6 } => (name.clone(), *ipv6),
            SnatKey::Automap { interface, ipv6 } => (format!("automap {interface}"), *ipv6),
        };
        Some(SnatPool {
            name,
            family: if ipv6 { "ipv6" } else { "ipv4" }.to_owned(),
            addresses: addresses.to_vec(),
            port_low: entry.port_low,
            port_high: entry.port_high,
            ports: range.len() as u64 * addresses.len() as u64,
            tcp_in_use,
            udp_in_use,
            exhausted: counters
                .snat_pools
                .get(&index)
                .copied()
                .unwrap_or_default()
                .into(),
        })
    });
    pools.collect()
}

impl Node {
    /// How flows are forgotten of virtual servers that say so, by id.
    pub(super) fn idle_times(&self) -> BTreeMap<u32, Idle> {
        let servers = self.model.virtual_servers.iter();
        let servers = servers.map(|each| (each.name.clone(), each.idle_timeout, each.idle_reset));
        let rules = self.model.egress.iter().map(|rule| {
            let name = egress_name(rule.source, &rule.interface);
            (name, rule.idle_timeout, rule.idle_reset)
        });
        let own = servers.chain(rules);
        let own = own.filter(|(_, timeout, reset)| timeout.is_some() || *reset);
        let times = own.filter_map(|(name, timeout, reset)| {
            let seconds = |time: Duration| (time.as_nanos() >> SECOND_SHIFT).max(1) as u32;
            let seconds = timeout.map(seconds);
            let idle = Idle { seconds, reset };
            Some((self.state.virtual_server(&name)?, idle))
        });
        times.collect()
    }
}
