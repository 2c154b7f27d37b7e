//! Why a packet went where it went: every packet ends in exactly one reason.

/// What became of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to the host untouched.
    Pass,
    /// Sent on towards a backend, a client or the outside.
    Forward,
    /// Answered by the data plane itself.
    Answer,
    /// Dropped.
    Drop,
}

impl Outcome {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Forward => "forward",
            Self::Answer => "answer",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident $name:literal $outcome:ident $meaning:literal $next:literal;)*) => {
        /// Why a packet went where it went.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $meaning] $(#[$meta])* $variant,)*
        }

        impl Reason {
            /// Every reason, in ABI order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The one name: metric label, trace line, documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What became of the packet.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)* }
            }

            /// The meaning in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// What to do next, in a sentence or two, mostly with a command to type.
            pub const fn next(self) -> &'static str {
                match self { $(Self::$variant => $next,)* }
            }
        }
    };
}

reasons! {
    PassNotOurs "pass-not-ours" Pass "No virtual server, NAT flow or SNAT rule has this packet."
        "Is there a virtual server for this address, port, protocol and interface? `forwarder status`";
    PassNotIp "pass-not-ip" Pass "Neither IPv4, IPv6 nor ARP, or more than two VLAN tags."
        "Nothing, unless it should have been IP: how many VLAN tags? `tcpdump -e`";
    PassOtherHost "pass-other-host" Pass "The destination MAC is not this interface's."
        "Is the sender's neighbour entry for the VIP stale, or the interface promiscuous? On the sender: `ip neighbour`";
    PassUnsupported "pass-unsupported" Pass "An IPv6 extension header, or a chain of them, that cannot be walked."
        "Who sends such extension headers? `tcpdump -v ip6`";
    PassLocal "pass-local" Pass "A virtual server in mode local: this host serves it."
        "No answer? Does the service listen on this host? `ss -lntu`";
    L2Dsr "l2-dsr" Forward "Sent to a backend by MAC address alone."
        "No answer? On the backend, is the VIP on loopback? `ip address show dev lo`";
    IpipDsr "ipip-dsr" Forward "Sent to a backend in an IP-in-IP tunnel."
        "No answer? On the backend, is the tunnel taken off? `forwarder backend DEVICE`";
    GueDsr "gue-dsr" Forward "Sent to a backend in a GUE tunnel."
        "No answer? On the backend, is the tunnel taken off? `forwarder backend DEVICE`";
    Dnat "dnat" Forward "Sent to a backend with the destination translated."
        "No answer? On the backend, do replies to clients go by way of this host? `ip route get CLIENT`";
    FullNat "full-nat" Forward "Sent to a backend with destination and source translated."
        "No answer? Does the service listen on the backend? `ss -lntu`";
    NatReply "nat-reply" Forward "A backend's reply, translated back, sent to the client."
        "No answer at the client? Does it get packets at all? `tcpdump`";
    EgressSnat "egress-snat" Forward "An outbound packet of a host behind us, source translated."
        "No answer? Do replies to the SNAT address come to this host? `tcpdump`";
    EgressReply "egress-reply" Forward "The reply to such a packet, translated back."
        "No answer at the host behind? Does it get packets at all? `tcpdump`";
    IcmpError "icmp-error" Forward "An ICMP error about a flow, translated and sent to the flow's other end."
        "Nothing: it went to the flow's other end, which adapts or gives up.";
    AnswerArp "answer-arp" Answer "An ARP request for a VIP, answered."
        "Nothing: the asker now knows this host's MAC address for the VIP.";
    AnswerNd "answer-nd" Answer "A neighbour solicitation for a VIP, answered."
        "Nothing: the asker now knows this host's MAC address for the VIP.";
    AnswerEcho "answer-echo" Answer "An echo request (ping) to a VIP, answered."
        "Nothing. That a VIP answers pings says nothing of its backends: `forwarder status`";
    AnswerTooBig "answer-too-big" Answer "Too big for the way to the backend; the sender was told the size that fits."
        "Raise the MTU towards the backend, or set `mss_clamp`. If connections hang, the answer is lost on its way to the sender.";
    AnswerReset "answer-reset" Answer "A TCP segment of a connection that was forgotten for being quiet; its sender was told that it is over."
        "Longer pauses than `idle_timeout`? Raise it, or let one end send keepalives: `sysctl net.ipv4.tcp_keepalive_time`";
    AnswerPeer "answer-peer" Answer "An echo of the pair's other node, answered."
        "Nothing: the other node knows that this one lives.";
    AnswerNoted "answer-noted" Answer "The other node's answer to this node's echo, noted for the daemon."
        "Nothing. Which paths work? `forwarder status`";
    DropTruncated "drop-truncated" Drop "The packet ends before its headers do."
        "Who sends it, and what? `tcpdump -vvv -e`";
    DropMalformed "drop-malformed" Drop "A header contradicts itself or the packet's length."
        "Who sends it, and what? `tcpdump -vvv -e`";
    DropBadSource "drop-bad-source" Drop "The source address cannot be one: loopback, multicast, unspecified, or the VIP itself."
        "Who sends from such an address? `tcpdump -e`";
    DropFragment "drop-fragment" Drop "A later fragment whose first fragment was not seen."
        "Do first fragments take another way, or get lost? Better no fragments: a smaller MTU at the sender.";
    DropDenied "drop-denied" Drop "The source address is not admitted by the virtual server's allow and deny lists."
        "See `allow` and `deny` of the virtual server: `forwarder config show`";
    DropRate "drop-rate" Drop "More new flows per second than the virtual server admits."
        "See `new_flows_per_second` of the virtual server: `forwarder config show`";
    DropNoBackend "drop-no-backend" Drop "The pool has no usable backend."
        "Which backends are down, drained or disabled? `forwarder status`";
    DropNoNextHop "drop-no-next-hop" Drop "The next hop's MAC address is not known."
        "Does the next hop answer, and is the interface up? `ip neighbour`, `ip link`";
    DropNoFlow "drop-no-flow" Drop "A TCP packet in the middle of a connection that has no NAT flow."
        "A connection begins with a SYN. Was the flow idle for too long, or is it another node's? `forwarder status`";
    DropSnatNoFlow "drop-snat-no-flow" Drop "A packet to a port in the SNAT range that belongs to no flow."
        "The flow is over, or the packet was never asked for. Who sends it? `tcpdump`";
    DropSnatExhausted "drop-snat-exhausted" Drop "No free SNAT port was found for a new flow."
        "Give the SNAT pool more addresses or ports, or use more backends: `forwarder config show`";
    DropFlowTableFull "drop-flow-table-full" Drop "The NAT flow table takes no more entries."
        "Raise `limits.flows`, and restart.";
    DropTtl "drop-ttl" Drop "The TTL or hop limit ran out here."
        "Is there a routing loop? `traceroute`";
    DropTooBig "drop-too-big" Drop "Too big for the way to the backend, and the sender cannot be told."
        "Raise the MTU towards the backend, or set `mss_clamp`.";
    DropNoHeadroom "drop-no-headroom" Drop "The driver left no room for the outer header."
        "Use another driver, or generic XDP: `allow_generic = true`";
    DropStandby "drop-standby" Drop "For a VIP that the peer has: this node of the pair is not active."
        "Which node is active, and does the sender still have this one's MAC address for the VIP? `forwarder status`";
    DropInternal "drop-internal" Drop "A stage program or map entry was missing; please report it."
        "Report it, with `forwarder status -o json`";
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::String;

    #[test]
    fn names_are_distinct_and_dense() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            let same = |other: &&Reason| other.name() == reason.name();
            assert_eq!(Reason::ALL.iter().filter(same).count(), 1);
        }
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let rows: String = Reason::ALL
            .iter()
            .map(|reason| {
                let outcome = reason.outcome().name();
                format!(
                    "| `{}` | {outcome} | {} | {} |\n",
                    reason.name(),
                    reason.meaning(),
                    reason.next()
                )
            })
            .collect();
        let table =
            format!("| reason | outcome | meaning | what to do |\n|---|---|---|---|\n{rows}");
        let page = include_str!("../../docs/reasons.md");
        assert!(
            page.ends_with(&table),
            "docs/reasons.md should end with\n{table}"
        );
    }
}
