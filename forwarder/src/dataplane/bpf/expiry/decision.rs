//! Whether a flow is idle: values in, a decision out.

use forwarder_common::flow::state;
use forwarder_common::{Flow, protocol};

/// How long flows may be idle, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, open both ways.
    pub tcp: u32,
    /// TCP, closed one way.
    pub tcp_half_closed: u32,
    /// TCP, closed both ways.
    pub tcp_closing: u32,
    /// TCP, reset.
    pub tcp_reset: u32,
    /// TCP, forgotten, and its ends told.
    pub tcp_expired: u32,
    /// TCP, not yet answered.
    pub tcp_embryonic: u32,
    /// UDP, answered.
    pub udp: u32,
    /// UDP, not answered.
    pub udp_embryonic: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: 3600,
            tcp_half_closed: 600,
            tcp_closing: 60,
            tcp_reset: 10,
            tcp_expired: 60,
            tcp_embryonic: 60,
            udp: 120,
            udp_embryonic: 30,
        }
    }
}

/// Which map a flow is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not answered yet.
    Embryonic,
    /// Answered.
    Established,
}

/// The timeouts of one map.
#[derive(Clone, Copy, Debug)]
pub struct StageTimeouts {
    tcp: u32,
    udp: u32,
    all: Timeouts,
    pub(super) stage: Stage,
}

impl StageTimeouts {
    /// The same for flows that may be quiet for so long; `None`: as long as others.
    pub fn of_server(self, idle: Option<u32>) -> Self {
        match (idle, self.stage) {
            (Some(idle), Stage::Established) => Self {
                tcp: idle,
                udp: idle,
                all: Timeouts {
                    tcp_half_closed: self.all.tcp_half_closed.min(idle),
                    ..self.all
                },
                ..self
            },
            _ => self,
        }
    }
}

impl Timeouts {
    /// Those of one map.
    pub fn of(self, stage: Stage) -> StageTimeouts {
        let (tcp, udp) = match stage {
            Stage::Embryonic => (self.tcp_embryonic, self.udp_embryonic),
            Stage::Established => (self.tcp, self.udp),
        };
        StageTimeouts {
            tcp,
            udp,
            all: self,
            stage,
        }
    }
}

/// Whether the entry translates replies.
pub fn is_reply<A>(flow: &Flow<A>) -> bool {
    flow.state & state::REPLY != 0
}

/// Whether a flow has been idle for too long at `now` (seconds of the coarse monotonic clock).
pub fn is_idle<A>(
    protocol: u32,
    flow: &Flow<A>,
    partner: Option<&Flow<A>>,
    now: u32,
    timeouts: &StageTimeouts,
) -> bool {
    let age = |flow: &Flow<A>| {
        // The data plane may have stamped the entry after `now` was read.
        let age = now.wrapping_sub(flow.last_seen);
        if age > u32::MAX / 2 { 0 } else { age }
    };
    let idle = partner.map_or(u32::MAX, age).min(age(flow));
    idle >= timeout(
        protocol,
        flow.state,
        partner.map(|partner| partner.state),
        timeouts,
    )
}

fn timeout(protocol: u32, own: u32, partner: Option<u32>, timeouts: &StageTimeouts) -> u32 {
    if protocol != u32::from(protocol::TCP) {
        return timeouts.udp;
    }
    let any = own | partner.unwrap_or(0);
    // Before the partner is looked up it may have closed too: the shorter time makes a candidate.
    let both = own & partner.unwrap_or(own);
    if any & state::EXPIRED != 0 {
        timeouts.all.tcp_expired
    } else if any & state::RST != 0 {
        timeouts.all.tcp_reset
    } else if both & state::FIN != 0 {
        timeouts.all.tcp_closing
    } else if any & state::FIN != 0 {
        timeouts.all.tcp_half_closed
    } else {
        timeouts.tcp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forwarder_common::V4;

    const TCP: u32 = protocol::TCP as u32;
    const UDP: u32 = protocol::UDP as u32;
    const NOW: u32 = 100_000;

    fn flow(state: u32, idle: u32) -> Flow<V4> {
        Flow {
            state,
            last_seen: NOW - idle,
            ..Flow::default()
        }
    }

    fn established(protocol: u32, own: Flow<V4>, partner: Flow<V4>) -> bool {
        let timeouts = Timeouts::default().of(Stage::Established);
        is_idle(protocol, &own, Some(&partner), NOW, &timeouts)
    }

    #[test]
    fn either_direction_keeps_a_flow() {
        assert!(!established(TCP, flow(0, 4000), flow(0, 3599)));
        assert!(!established(TCP, flow(0, 0), flow(0, 4000)));
        assert!(established(TCP, flow(0, 3600), flow(0, 3600)));
        assert!(!established(UDP, flow(0, 500), flow(0, 119)));
        assert!(established(UDP, flow(0, 120), flow(0, 120)));
    }

    #[test]
    fn closing_shortens_the_wait() {
        let (fin, rst) = (state::FIN, state::RST);
        assert!(established(TCP, flow(fin, 60), flow(fin, 60)));
        assert!(!established(TCP, flow(fin, 60), flow(0, 60)));
        assert!(established(TCP, flow(fin, 600), flow(0, 600)));
        assert!(established(TCP, flow(0, 10), flow(rst, 10)));
        assert!(!established(TCP, flow(rst, 9), flow(rst, 9)));
        assert!(
            !established(UDP, flow(fin | rst, 60), flow(fin | rst, 60)),
            "UDP has no flags"
        );
    }

    #[test]
    fn embryonic_flows_go_sooner() {
        let timeouts = Timeouts::default().of(Stage::Embryonic);
        let idle = |protocol, seconds| {
            is_idle(
                protocol,
                &flow(0, seconds),
                Some(&flow(0, seconds)),
                NOW,
                &timeouts,
            )
        };
        assert!(idle(TCP, 60) && !idle(TCP, 59));
        assert!(idle(UDP, 30) && !idle(UDP, 29));
    }

    #[test]
    fn a_virtual_server_may_have_a_time_of_its_own() {
        let own = |stage| Timeouts::default().of(stage).of_server(Some(240));
        let idle = |protocol, state, seconds, timeouts| {
            is_idle(protocol, &flow(state, seconds), None, NOW, &timeouts)
        };
        for protocol in [TCP, UDP] {
            assert!(idle(protocol, 0, 240, own(Stage::Established)));
            assert!(!idle(protocol, 0, 239, own(Stage::Established)));
        }
        assert!(idle(TCP, state::RST, 10, own(Stage::Established)));
        assert!(
            idle(TCP, 0, 60, own(Stage::Embryonic)),
            "half open ones go as ever"
        );
    }

    #[test]
    fn orphans_go_by_their_own_time() {
        let timeouts = Timeouts::default().of(Stage::Established);
        assert!(is_idle(UDP, &flow(0, 120), None, NOW, &timeouts));
        assert!(!is_idle(UDP, &flow(0, 119), None, NOW, &timeouts));
    }

    #[test]
    fn a_stamp_from_the_future_is_fresh() {
        let timeouts = Timeouts::default().of(Stage::Established);
        let future = Flow::<V4> {
            last_seen: NOW + 1,
            ..Flow::default()
        };
        assert!(!is_idle(UDP, &future, None, NOW, &timeouts));
    }
}
