//! Every metric there is: its name is fixed here and nowhere else.

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; begins anew when what it counts is gone.
    Counter,
    /// A value of the moment.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// As the exposition format has it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Unit of the value, in words; a state set has 1 for the state that holds and 0 for the others.
    pub unit: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal $unit:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// Every metric, in the order of the page.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BUILD_INFO Gauge "forwarder_build_info" "always 1" ["version"]
        "The daemon's version.";
    START_TIME Gauge "forwarder_start_time_seconds" "seconds since 1970" []
        "When the daemon started.";
    ROLE Gauge "forwarder_role" "state set" ["role"]
        "What this node is: a single one, or one of a pair; mixed: not the same for all groups.";
    PROBLEMS Gauge "forwarder_problems" "problems" []
        "What does not work at the moment, as forwarder status lists it.";
    CONFIG_INFO Gauge "forwarder_config_info" "always 1" ["sha256"]
        "SHA-256 of the text of the configuration at work, as sha256sum shows it.";
    CONFIG_GENERATION Gauge "forwarder_config_generation" "configurations" []
        "How often a configuration was put to work since the daemon started: 1 after the start.";
    RELOAD_SUCCESS Gauge "forwarder_config_last_reload_successful" "0 or 1" []
        "Whether the last reload went through; the start counts as one.";
    RELOAD_TIME Gauge "forwarder_config_last_reload_success_timestamp_seconds" "seconds since 1970" []
        "When a configuration was last put to work.";

    GROUP_ROLE Gauge "forwarder_group_role" "state set" ["group" "role"]
        "This node's role for a group of virtual servers.";
    GROUP_EPOCH Gauge "forwarder_group_epoch" "takeovers" ["group"]
        "The highest epoch of the group: it grows with every takeover, on whichever node.";
    ROLE_CHANGES Counter "forwarder_role_changes_total" "changes" ["group" "cause"]
        "Changes of this node's role for the group, by cause.";
    ROLE_CHANGE_PHASE Histogram "forwarder_role_change_phase_seconds" "seconds" ["phase"]
        "How long the phases of changes of role took, of all groups.";
    PAIR_HEALTH Gauge "forwarder_pair_node_health" "state set" ["node" "health"]
        "How well each node of the pair is; unknown: nothing was heard of it lately.";
    PAIR_MAINTENANCE Gauge "forwarder_pair_node_maintenance" "0 or 1" ["node"]
        "Whether the operator keeps the node from being active; no series while nothing is heard of it.";
    PAIR_SAME_CONFIG Gauge "forwarder_pair_same_config" "0 or 1" []
        "Whether the peer's config file is the same; no series while nothing is heard of it.";
    PAIR_PATH_STATE Gauge "forwarder_pair_path_state" "state set" ["own" "peer" "state"]
        "Whether the peer answers on the path between these addresses.";
    PAIR_PATH_ROUND_TRIP Gauge "forwarder_pair_path_round_trip_seconds" "seconds" ["own" "peer"]
        "Round trip of the latest answer on the path.";
    PAIR_PATH_LOST Gauge "forwarder_pair_path_lost_ratio" "ratio" ["own" "peer"]
        "Of the last 64 echoes on the path, the part that was not answered in time.";
    PAIR_REFUSED Counter "forwarder_pair_refused_datagrams_total" "datagrams" ["reason"]
        "Datagrams at the pair's port that changed nothing.";
    PAIR_WITNESS_UP Gauge "forwarder_pair_witness_up" "0 or 1" ["witness"]
        "Whether the witness that keeps a lease answers; no series while it was not asked.";
    PAIR_WITNESS_LEASE Gauge "forwarder_pair_witness_lease" "0 or 1" ["witness"]
        "Whether this node has the witness's lease: only while it is active without its peer.";
    PROBE_OPEN Gauge "forwarder_probe_open" "0 or 1" ["port"]
        "Whether the probe port can be connected to.";
    PROBES Counter "forwarder_probes_total" "probes" ["port" "answer"]
        "Probes of a load balancer in front, by what they were told: active or standby.";

    CLOUD_CALLS Counter "forwarder_cloud_calls_total" "calls" ["action" "result"]
        "Calls of the cloud's API that move something, tries included: done, again (it may go well another time) or refused.";
    CLOUD_REHEARSALS Counter "forwarder_cloud_rehearsals_total" "calls" ["result"]
        "Calls that a takeover would make, tried without being done: allowed, refused or unanswered.";
    CLOUD_REFUSED_CALLS Gauge "forwarder_cloud_refused_calls" "calls" ["group"]
        "Calls that a takeover of the group would make and that were refused when they were last tried; 0 while this node is active.";

    INTERFACE_ATTACHMENT Gauge "forwarder_interface_attachment" "state set" ["interface" "device" "mode"]
        "How the data plane is attached to the interface.";
    PACKETS Counter "forwarder_packets_total" "packets" ["interface" "outcome" "reason"]
        "Packets that came in by the interface, by what became of them.";
    BYTES Counter "forwarder_bytes_total" "bytes" ["interface" "outcome" "reason"]
        "Bytes of these packets, whole frames as they came in.";
    ALLOWANCE_EXCEEDED Counter "forwarder_interface_allowance_exceeded_total" "packets" ["interface" "allowance"]
        "Packets that EC2 held back or dropped because the instance exceeded an allowance; only where the driver tells (ena).";
    ALLOWANCE_AVAILABLE Gauge "forwarder_interface_allowance_available" "connections" ["interface" "allowance"]
        "What is left of the allowance: connections that EC2 can still track; only where the driver tells (ena).";

    VIRTUAL_SERVER_INFO Gauge "forwarder_virtual_server_info" "always 1"
        ["virtual_server" "address" "port" "protocol" "mode" "pool"]
        "What the virtual server is.";
    VIRTUAL_SERVER_PACKETS Counter "forwarder_virtual_server_packets_total" "packets" ["virtual_server" "direction"]
        "Packets of the virtual server: in from clients, out to clients. In the DSR modes replies do not pass here.";
    VIRTUAL_SERVER_BYTES Counter "forwarder_virtual_server_bytes_total" "bytes" ["virtual_server" "direction"]
        "Bytes of these packets.";
    EGRESS_PACKETS Counter "forwarder_egress_packets_total" "packets" ["source" "interface" "direction"]
        "Packets of the egress rule: out from the hosts behind us, in to them.";
    EGRESS_BYTES Counter "forwarder_egress_bytes_total" "bytes" ["source" "interface" "direction"]
        "Bytes of these packets.";

    BACKEND_STATE Gauge "forwarder_backend_state" "state set" ["pool" "backend" "state"]
        "What the operator wants of the backend.";
    BACKEND_HEALTH Gauge "forwarder_backend_health" "state set" ["pool" "backend" "health"]
        "What the health check says of the backend.";
    BACKEND_WEIGHT Gauge "forwarder_backend_weight" "shares" ["pool" "backend"]
        "The backend's share of new flows.";
    BACKEND_RESOLVED Gauge "forwarder_backend_next_hop_resolved" "0 or 1" ["pool" "backend"]
        "Whether the way to the backend is known.";
    BACKEND_PACKETS Counter "forwarder_backend_packets_total" "packets" ["pool" "backend" "direction"]
        "Packets of the backend: in to it, out from it (NAT modes).";
    BACKEND_BYTES Counter "forwarder_backend_bytes_total" "bytes" ["pool" "backend" "direction"]
        "Bytes of these packets.";
    HEALTH_CHECKS Counter "forwarder_health_checks_total" "checks" ["pool" "backend" "result"]
        "Health checks of the backend, by their result.";
    HEALTH_CHECK_DURATION Histogram "forwarder_health_check_duration_seconds" "seconds" ["pool"]
        "How long health checks of the pool's backends took, failed ones included.";

    FLOW_ENTRIES Gauge "forwarder_flow_entries" "entries" ["kind" "family"]
        "Entries of the NAT flow maps, two for a flow; counted every few seconds.";
    FLOW_ENTRIES_LIMIT Gauge "forwarder_flow_entries_limit" "entries" ["kind" "family"]
        "Entries that there is room for. When embryonic is full its oldest entry makes room for a new one; established takes no more.";
    FLOW_ENTRIES_EXPIRED Counter "forwarder_flow_entries_expired_total" "entries" ["kind" "family"]
        "Entries of idle flows that were removed.";
    FLOW_ENTRIES_EVICTED Counter "forwarder_flow_entries_evicted_total" "entries" ["kind" "family"]
        "Entries of half-open flows that newer ones pushed out because embryonic was full: at least so many, known every few seconds.";
    SNAT_PORTS Gauge "forwarder_snat_ports" "ports" ["snat_pool" "family" "protocol"]
        "Ports that this node may take from the pool, over all its addresses.";
    SNAT_PORTS_IN_USE Gauge "forwarder_snat_ports_in_use" "ports" ["snat_pool" "family" "protocol"]
        "Ports of these that some flow has; a port serves flows to several destinations at once.";
    SNAT_EXHAUSTED Counter "forwarder_snat_exhausted_total" "packets" ["snat_pool" "family"]
        "Packets dropped because no free port of the pool was found for a new flow.";

    SYNC_SENT Counter "forwarder_sync_entries_sent_total" "entries" []
        "What happened to flows, as told to the peer of the pair.";
    SYNC_APPLIED Counter "forwarder_sync_entries_applied_total" "entries" []
        "Of these, what the peer has put into its maps.";
    SYNC_RECEIVED Counter "forwarder_sync_entries_received_total" "entries" []
        "What the peer told of flows and was put into the maps.";
    SYNC_LOST Counter "forwarder_sync_entries_lost_total" "entries" ["cause"]
        "What could not be told or put into the maps; after unknown and events everything is told again.";
    SYNC_AGAIN Counter "forwarder_sync_chunks_sent_again_total" "datagrams" []
        "Datagrams about flows that were sent once more because they did not arrive in time.";
    SYNC_STREAMS Counter "forwarder_sync_streams_total" "streams" []
        "How often this node began to tell everything it knows of flows.";
    SYNC_WAITING Gauge "forwarder_sync_entries_waiting" "entries" []
        "What the peer has not yet put into its maps.";
    SYNC_LAG Gauge "forwarder_sync_lag_seconds" "seconds" []
        "For how long the first of these has waited.";
    SYNC_COMPLETE Gauge "forwarder_sync_complete" "0 or 1" []
        "Whether the standby has all flows: the active node as it knows from the peer, the standby for itself.";

    PROCESS_CPU Counter "process_cpu_seconds_total" "seconds" []
        "Processor time of the daemon, user and system.";
    PROCESS_MEMORY Gauge "process_resident_memory_bytes" "bytes" []
        "Memory of the daemon; BPF maps are not in it.";
    PROCESS_FDS Gauge "process_open_fds" "descriptors" []
        "Open file descriptors of the daemon.";
}

/// The catalogue as a table of the documentation.
pub fn markdown() -> String {
    let mut table =
        String::from("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        table += &format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.word(),
            metric.unit,
            labels.join(" "),
            metric.help
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let table = markdown();
        let (before, rest) = page.split_once("<!-- metrics -->\n").expect("a mark");
        let (is, after) = rest.split_once("<!-- end -->").expect("an end mark");
        if std::env::var_os("BLESS").is_some() {
            let page = format!("{before}<!-- metrics -->\n{table}<!-- end -->{after}");
            std::fs::write(path, page).expect("a writable page");
        } else {
            assert_eq!(
                is, table,
                "docs/metrics.md is not what the code says: BLESS=1"
            );
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            let same = ALL.iter().filter(|other| other.name == metric.name);
            assert_eq!(same.count(), 1, "{}", metric.name);
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            let own = metric.name.starts_with("forwarder_");
            assert!(
                own || metric.name.starts_with("process_"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            for word in ["_ms", "_milliseconds", "_percent", "_kilobytes"] {
                assert!(!metric.name.contains(word), "{}: base units", metric.name);
            }
            for label in metric.labels {
                assert!(!["le", "client", "source_address"].contains(label));
            }
        }
    }
}
