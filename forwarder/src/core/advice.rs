//! What to do about a packet's reason.

use forwarder_common::Reason;

/// What to look at next, as a question or a command to type.
pub fn next(reason: Reason) -> &'static str {
    match reason {
        Reason::PassNotOurs => {
            "is there a virtual server for this address, port, protocol and interface?  forwarder status"
        }
        Reason::PassNotIp => {
            "nothing, unless it should have been IP: how many VLAN tags?  tcpdump -e"
        }
        Reason::PassOtherHost => {
            "is the interface promiscuous, or the sender's neighbour entry stale?"
        }
        Reason::PassUnsupported => "who sends such extension headers?  tcpdump -v ip6",
        Reason::PassLocal => "is the service listening on this host?  ss -lntu",
        Reason::L2Dsr => "no answer?  the backend needs the VIP on loopback",
        Reason::IpipDsr | Reason::GueDsr => {
            "no answer?  on the backend:  forwarder backend --vip VIP"
        }
        Reason::Dnat => "no answer?  the backend's replies must come back through this host",
        Reason::FullNat => "no answer?  is the service listening on the backend?",
        Reason::NatReply => "no answer at the client?  is its way from here the right one?",
        Reason::EgressSnat => "no answer?  do replies to the SNAT address come to this host?",
        Reason::EgressReply => {
            "no answer at the host behind?  does it get packets at all?  tcpdump"
        }
        Reason::IcmpError => "nothing: it went to the flow's other end, which adapts or gives up",
        Reason::AnswerArp | Reason::AnswerNd => {
            "nothing: the asker now knows this host's MAC address for the VIP"
        }
        Reason::AnswerEcho => {
            "nothing: the forwarder answers itself; that says nothing of the backends:  forwarder status"
        }
        Reason::DropTooBig | Reason::AnswerTooBig => {
            "raise the MTU towards the backend, or set `mss_clamp`"
        }
        Reason::DropTruncated | Reason::DropMalformed => "who sends it, and what?  tcpdump -vvv -e",
        Reason::DropBadSource => "who sends from such an address?  tcpdump -e",
        Reason::DropFragment => {
            "do first fragments take another way or get lost?  better no fragments: a smaller MTU at the sender"
        }
        Reason::DropDenied => "see `allow` and `deny` of the virtual server",
        Reason::DropRate => "see `new_flows_per_second` of the virtual server",
        Reason::DropNoBackend => "which backends are up?  forwarder status",
        Reason::DropNoNextHop => {
            "does the next hop answer?  ip neighbour show; is the interface up?  ip link"
        }
        Reason::DropNoFlow => "a connection begins with a SYN; trace one:  --flags syn",
        Reason::DropSnatNoFlow => {
            "the flow is over, or the packet was never asked for; trace a packet of the forward direction"
        }
        Reason::DropSnatExhausted => "give the SNAT pool more addresses or ports",
        Reason::DropFlowTableFull => "raise limits.flows",
        Reason::DropTtl => "is there a routing loop?  traceroute",
        Reason::DropNoHeadroom => "use another driver, or generic XDP:  allow_generic = true",
        Reason::DropInternal => "report it, with:  forwarder status -o json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_something_to_do_about_every_reason() {
        for reason in Reason::ALL {
            assert!(next(*reason).len() > 10, "{}", reason.name());
        }
    }
}
