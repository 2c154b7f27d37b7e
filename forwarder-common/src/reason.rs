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

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident $name:literal $outcome:ident $meaning:literal;)*) => {
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
        }
    };
}

reasons! {
    PassNotOurs "pass-not-ours" Pass "No virtual server, NAT flow or SNAT rule has this packet.";
    PassNotIp "pass-not-ip" Pass "Neither IPv4, IPv6 nor ARP, or more than two VLAN tags.";
    PassOtherHost "pass-other-host" Pass "The destination MAC is not this interface's.";
    PassUnsupported "pass-unsupported" Pass "An IPv6 extension header, or a chain of them, that cannot be walked.";
    PassLocal "pass-local" Pass "A virtual server in mode local: this host serves it.";
    L2Dsr "l2-dsr" Forward "Sent to a backend by MAC address alone.";
    IpipDsr "ipip-dsr" Forward "Sent to a backend in an IP-in-IP tunnel.";
    GueDsr "gue-dsr" Forward "Sent to a backend in a GUE tunnel.";
    Dnat "dnat" Forward "Sent to a backend with the destination translated.";
    FullNat "full-nat" Forward "Sent to a backend with destination and source translated.";
    NatReply "nat-reply" Forward "A backend's reply, translated back, sent to the client.";
    EgressSnat "egress-snat" Forward "An outbound packet of a host behind us, source translated.";
    EgressReply "egress-reply" Forward "The reply to such a packet, translated back.";
    IcmpError "icmp-error" Forward "An ICMP error about a flow, translated and sent to the flow's other end.";
    AnswerArp "answer-arp" Answer "An ARP request for a VIP, answered.";
    AnswerNd "answer-nd" Answer "A neighbour solicitation for a VIP, answered.";
    AnswerEcho "answer-echo" Answer "An echo request (ping) to a VIP, answered.";
    AnswerTooBig "answer-too-big" Answer "Too big for the way to the backend; the sender was told the size that fits.";
    DropTruncated "drop-truncated" Drop "The packet ends before its headers do.";
    DropMalformed "drop-malformed" Drop "A header contradicts itself or the packet's length.";
    DropBadSource "drop-bad-source" Drop "The source address cannot be one: loopback, multicast, unspecified, or the VIP itself.";
    DropFragment "drop-fragment" Drop "A later fragment whose first fragment was not seen.";
    DropDenied "drop-denied" Drop "The source address is not admitted by the virtual server's allow and deny lists.";
    DropRate "drop-rate" Drop "More new flows per second than the virtual server admits.";
    DropNoBackend "drop-no-backend" Drop "The pool has no usable backend.";
    DropNoNextHop "drop-no-next-hop" Drop "The next hop's MAC address is not known.";
    DropNoFlow "drop-no-flow" Drop "A TCP packet in the middle of a connection that has no NAT flow.";
    DropSnatNoFlow "drop-snat-no-flow" Drop "A packet to a port in the SNAT range that belongs to no flow.";
    DropSnatExhausted "drop-snat-exhausted" Drop "No free SNAT port was found for a new flow.";
    DropFlowTableFull "drop-flow-table-full" Drop "The NAT flow table takes no more entries.";
    DropTtl "drop-ttl" Drop "The TTL or hop limit ran out here.";
    DropTooBig "drop-too-big" Drop "Too big for the way to the backend, and the sender cannot be told.";
    DropNoHeadroom "drop-no-headroom" Drop "The driver left no room for the outer header.";
    DropInternal "drop-internal" Drop "A stage program or map entry was missing; please report it.";
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
                let outcome = format!("{:?}", reason.outcome()).to_lowercase();
                format!(
                    "| `{}` | {outcome} | {} |\n",
                    reason.name(),
                    reason.meaning()
                )
            })
            .collect();
        let table = format!("| reason | outcome | meaning |\n|---|---|---|\n{rows}");
        let page = include_str!("../../docs/reasons.md");
        assert!(
            page.ends_with(&table),
            "docs/reasons.md should end with\n{table}"
        );
    }
}
