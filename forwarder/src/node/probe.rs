//! Ports that tell a load balancer in front whether this node is active.

use super::Node;
use crate::admin::api::Probe;
use crate::config::model::ProbeAnswer;
use crate::io::probe::Seen;

impl Node {
    /// Other ports may be wanted.
    pub(super) fn probes_reloaded(&self) {
        if let Some(responder) = &self.responder {
            responder.set(&self.model.probes);
        }
    }

    /// What is shown of them.
    pub(super) fn probes(&self) -> Vec<Probe> {
        let probes = self.model.probes.iter().map(|probe| {
            let port = probe.port.get();
            let responder = self.responder.as_ref();
            let Seen {
                open,
                error,
                told: [told_active, told_standby],
                last,
            } = responder.map_or_else(Seen::default, |responder| responder.seen(port));
            Probe {
                port,
                protocol: match probe.answer {
                    ProbeAnswer::Tcp { .. } => "tcp",
                    ProbeAnswer::Http { .. } => "http",
                }
                .to_owned(),
                open,
                error,
                told_active,
                told_standby,
                last_at_milliseconds: last
                    .map(|(at, _)| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
                last_from: last.map(|(_, from)| from),
            }
        });
        probes.collect()
    }
}
