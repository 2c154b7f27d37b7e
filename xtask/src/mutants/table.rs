//! The bugs: small mistakes of a careless programmer, over the whole packet path.

mod echoes;
mod tunnels;

use super::patch::Patch;

/// A seeded bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub name: &'static str,
    /// The file it is in, relative to the workspace's root.
    pub file: &'static str,
    /// What is wrong with the packet path then.
    pub breaks: &'static str,
    /// Stands in the file exactly once, so that the table stays true when the code changes.
    pub search: &'static str,
    pub replace: &'static str,
}

impl Mutant {
    /// The change of the source.
    pub const fn patch(&self) -> Patch {
        Patch {
            file: self.file,
            search: self.search,
            replace: self.replace,
        }
    }
}

/// Every one.
pub fn mutants() -> impl Iterator<Item = &'static Mutant> {
    MUTANTS
        .iter()
        .chain(tunnels::MUTANTS)
        .chain(echoes::MUTANTS)
}

const MUTANTS: &[Mutant] = &[
    // From bytes to facts.
    Mutant {
        name: "ipv4-one-byte-beyond-the-frame",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "the IPv4 length check is off by one",
        search: "|| length + IP as u32 > packet.length()\n    {",
        replace: "|| length + IP as u32 > packet.length() + 1\n    {",
    },
    Mutant {
        name: "ipv6-frame-without-padding",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "an IPv6 packet that fills its frame is taken for too long",
        search: "!= 6 || length + IP as u32 > packet.length()",
        replace: "!= 6 || length + IP as u32 >= packet.length()",
    },
    Mutant {
        name: "ipv4-options-not-skipped",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "the transport header is looked for in the options",
        search: "transport: black_box(IP + header) & OFFSET_MASK",
        replace: "transport: black_box(IP + Ipv4::LENGTH) & OFFSET_MASK",
    },
    Mutant {
        name: "tcp-header-beyond-the-packet",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "the TCP data offset is not compared with the packet's end",
        search: "header < Tcp::LENGTH || offset + header > end",
        replace: "header < Tcp::LENGTH",
    },
    Mutant {
        name: "extension-headers-end-too-soon",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "256 bytes of extension headers are one too many",
        search: "chain.end > BEGIN + EXTENSION_BYTES",
        replace: "chain.end >= BEGIN + EXTENSION_BYTES",
    },
    Mutant {
        name: "syn-fin-begins-a-connection",
        file: "forwarder-ebpf/src/parse.rs",
        breaks: "a SYN with FIN or RST counts as a SYN",
        search: "self.tcp_flags & (SYN | ACK | RST | FIN) == SYN",
        replace: "self.tcp_flags & (SYN | ACK) == SYN",
    },
    Mutant {
        name: "broken-packet-of-the-host-dropped",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "a malformed packet that is not for a VIP does not reach the host",
        search: "if verdict == Verdict::drop(reason) && !is_ours::<F, T>(tables, interface, destination) {",
        replace: "if false && !is_ours::<F, T>(tables, interface, destination) {",
    },
    Mutant {
        name: "fragments-without-identification",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "fragments of different packets are taken for one another",
        search: "id: headers.fragment_id,",
        replace: "id: 0,",
    },
    // Checksums.
    Mutant {
        name: "checksum-carry-lost",
        file: "forwarder-ebpf/src/checksum.rs",
        breaks: "the end-around carry is added once too seldom",
        search: "    let sum = (sum & 0xffff) + (sum >> 16);\n    let sum = (sum & 0xffff) + (sum >> 16);\n    let sum = (sum & 0xffff) + (sum >> 16);\n",
        replace: "    let sum = (sum & 0xffff) + (sum >> 16);\n",
    },
    Mutant {
        name: "udp-checksum-becomes-none",
        file: "forwarder-ebpf/src/checksum.rs",
        breaks: "a UDP checksum that comes out as zero is sent as zero",
        search: "            0 => 0xffff,\n            changed => changed,",
        replace: "            changed => changed,",
    },
    Mutant {
        name: "udp-without-checksum-gets-one",
        file: "forwarder-ebpf/src/checksum.rs",
        breaks: "a UDP checksum of zero is updated",
        search: "if checksum == 0 {",
        replace: "if false {",
    },
    Mutant {
        name: "ttl-without-checksum",
        file: "forwarder-ebpf/src/family.rs",
        breaks: "the IPv4 header checksum does not follow the TTL",
        search: "ip.ttl = ip.ttl.wrapping_sub(1);\n        ip.checksum = Change::none().half(old, new).apply(ip.checksum);",
        replace: "ip.ttl = ip.ttl.wrapping_sub(1);\n        let _ = (old, new);",
    },
    Mutant {
        name: "pseudo-header-without-destination",
        file: "forwarder-ebpf/src/family.rs",
        breaks: "the IPv6 destination is forgotten in transport checksums",
        search: "\n                .word(destination[word], addresses.destination[word]);",
        replace: ";",
    },
    // VLAN tags, MAC addresses, the way out.
    Mutant {
        name: "pass-loses-a-tag",
        file: "forwarder-ebpf/src/link.rs",
        breaks: "a packet with one VLAN tag reaches the host without it",
        search: "Action::Pass if context.tags[0] != 0",
        replace: "Action::Pass if context.tags[1] != 0",
    },
    Mutant {
        name: "inner-tag-is-the-outer",
        file: "forwarder-ebpf/src/link.rs",
        breaks: "of two VLAN tags, the outer one is put on twice",
        search: "packet.at_mut::<Vlan>(TYPE + TAG)?.tag = tags[1];",
        replace: "packet.at_mut::<Vlan>(TYPE + TAG)?.tag = tags[0];",
    },
    Mutant {
        name: "tags-into-another-network",
        file: "forwarder-ebpf/src/link.rs",
        breaks: "a packet that leaves by another interface keeps its VLAN tags",
        search: "    } else {\n        [0, 0]\n    }",
        replace: "    } else {\n        context.tags\n    }",
    },
    Mutant {
        name: "everything-sent-back",
        file: "forwarder-ebpf/src/link.rs",
        breaks: "XDP_TX also for packets that leave by another interface",
        search: "let same = ifindex == context.ifindex && interface.flags",
        replace: "let same = interface.flags",
    },
    // Which virtual server, which backend.
    Mutant {
        name: "vip-on-every-interface",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "a virtual server is served where it should not be",
        search: "let mut server = tables\n        .virtual_server(&key)\n        .filter(|server| server.interfaces & bit != 0);",
        replace: "let mut server = tables.virtual_server(&key);",
    },
    Mutant {
        name: "unlisted-source-the-other-way",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "allow and deny lists admit whom they should not",
        search: "(server.flags & server_flags::DENY_UNLISTED == 0) as u32",
        replace: "(server.flags & server_flags::DENY_UNLISTED != 0) as u32",
    },
    Mutant {
        name: "multicast-source",
        file: "forwarder-ebpf/src/family.rs",
        breaks: "packets from 224.0.0.0/8 are forwarded",
        search: "first == 0 || first == 127 || first >= 224",
        replace: "first == 0 || first == 127 || first > 224",
    },
    Mutant {
        name: "burst-of-one-more",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "the rate guard lets one flow more through",
        search: "if from + interval - now > interval * server.new_flow_burst as u64 {",
        replace: "if from - now > interval * server.new_flow_burst as u64 {",
    },
    Mutant {
        name: "rate-guard-on-every-packet",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "packets of known flows need a token, too",
        search: "&& stateless && headers.is_syn()",
        replace: "&& stateless",
    },
    Mutant {
        name: "affinity-forgets-the-protocol",
        file: "forwarder-common/src/hash.rs",
        breaks: "`source-protocol` chooses as `source` does",
        search: "Affinity::SourceProtocol => (A::single(source, key), protocol as u64)",
        replace: "Affinity::SourceProtocol => (A::single(source, key), 0)",
    },
    Mutant {
        name: "flows-of-a-changed-slot-move",
        file: "forwarder-ebpf/src/choose.rs",
        breaks: "an older flow in a changed slot goes to the new backend",
        search: "        _ if keeps(slot.previous()) => slot.previous(),\n",
        replace: "",
    },
    Mutant {
        name: "exception-outlives-its-backend",
        file: "forwarder-ebpf/src/choose.rs",
        breaks: "a flow stays with a dead backend",
        search: "tables.exception(key)\n        && keeps(kept)",
        replace: "tables.exception(key)",
    },
    Mutant {
        name: "syn-leaves-the-exception",
        file: "forwarder-ebpf/src/choose.rs",
        breaks: "a new flow inherits the backend of an old one with its ports",
        search: "            tables.remove_exception(key);\n",
        replace: "",
    },
    Mutant {
        name: "grace-for-the-dead",
        file: "forwarder-ebpf/src/choose.rs",
        breaks: "UDP goes on to a dead backend",
        search: "slot.in_grace() && keeps(slot.previous())",
        replace: "slot.in_grace()",
    },
    // NAT.
    Mutant {
        name: "later-fragments-have-ports",
        file: "forwarder-ebpf/src/translate.rs",
        breaks: "ports are written into the data of later fragments",
        search: "if headers.fragment == Fragment::Later {",
        replace: "if false {",
    },
    Mutant {
        name: "reply-with-ports-as-sent",
        file: "forwarder-ebpf/src/new_flow.rs",
        breaks: "the reply entry translates to the client's ports the wrong way round",
        search: "ports: swap(key.ports),",
        replace: "ports: key.ports,",
    },
    Mutant {
        name: "half-open-port-given-twice",
        file: "forwarder-ebpf/src/new_flow.rs",
        breaks: "a SNAT port that a half-open flow has is taken",
        search: "!tables.claim_embryonic(&draft.other, &draft.reply)\n",
        replace: "!tables.add_embryonic(&draft.other, &draft.reply)\n",
    },
    Mutant {
        name: "established-port-given-twice",
        file: "forwarder-ebpf/src/new_flow.rs",
        breaks: "a SNAT port that an established flow has is taken",
        search: "    if let Some(flow) = tables.established(&draft.other) {\n        if T::WRITE",
        replace: "    if let Some(flow) = tables.established(&draft.other).filter(|_| false) {\n        if T::WRITE",
    },
    Mutant {
        name: "closed-flow-keeps-its-port",
        file: "forwarder-ebpf/src/new_flow.rs",
        breaks: "a client's port is refused until its closed flow has expired",
        search: "        return if is_closed::<F, T>(tables, &flow, draft.key.protocol) {",
        replace: "        return if false {",
    },
    Mutant {
        name: "closed-flow-half-removed",
        file: "forwarder-ebpf/src/new_flow.rs",
        breaks: "the established reply entry of a closed flow hides the one that took its port",
        search: "        tables.remove_established(&draft.other);\n    }\n    tables.add_embryonic",
        replace: "    }\n    tables.add_embryonic",
    },
    Mutant {
        name: "last-snat-port-unused",
        file: "forwarder-common/src/hash.rs",
        breaks: "the last port of a SNAT range is never taken",
        search: "- pool.port_low as u64 + 1;",
        replace: "- pool.port_low as u64;",
    },
    Mutant {
        name: "snat-range-ends-too-soon",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a packet without a flow to the last SNAT port reaches the host",
        search: "&& port <= range.high",
        replace: "&& port < range.high",
    },
    Mutant {
        name: "established-without-an-answer",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a half-open flow moves to the established ones",
        search: "if reply.state & state::SEEN == 0 || !tables",
        replace: "if !tables",
    },
    Mutant {
        name: "half-closed-is-closed",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a SYN replaces a flow that only one side has finished",
        search: "|| flow.state & reply & state::FIN != 0",
        replace: "|| (flow.state | reply) & state::FIN != 0",
    },
    Mutant {
        name: "unanswerable-flows-go-on",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a half-open flow that has lost its reply entry stays as it is",
        search: "reply.map_or(state::RST, |reply| reply.state)",
        replace: "reply.map_or(0, |reply| reply.state)",
    },
    Mutant {
        name: "unanswerable-datagrams-go-on",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a half-open UDP flow that has lost its reply entry stays as it is",
        search: "headers.is_syn() || embryonic && headers.protocol != protocol::TCP",
        replace: "headers.is_syn()",
    },
    Mutant {
        name: "flow-of-a-dead-backend",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a flow is still sent to a backend that has died",
        search: "let dead = !backend_flags::keeps(backend.flags, key.protocol);",
        replace: "let dead = false;",
    },
    Mutant {
        name: "client-moves-unseen",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "replies go on to the MAC address that the client had first",
        search: "        && !link::is_same(&way, &flow.link)\n",
        replace: "        && way.ifindex != flow.link.ifindex\n",
    },
    Mutant {
        name: "flow-never-seen-again",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "`last_seen` stays at the flow's first packet",
        search: "            flow.last_seen = now;\n",
        replace: "",
    },
    Mutant {
        name: "flow-taken-back-in-time",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "what the peer has told is stamped with an earlier time by the next packet, and swept",
        search: "if flow.last_seen < now {",
        replace: "if flow.last_seen != now {",
    },
    Mutant {
        name: "egress-by-another-interface",
        file: "forwarder-ebpf/src/egress.rs",
        breaks: "egress SNAT leaves by an interface that the rule does not name",
        search: "Route::Found { link, mtu } if link.ifindex == rule.ifindex =>",
        replace: "Route::Found { link, mtu } =>",
    },
    Mutant {
        name: "neighbour-not-asked-for",
        file: "forwarder-ebpf/src/egress.rs",
        breaks: "the daemon is not told of a missing neighbour",
        search: "            tables.want_neighbour(ifindex, F::widen(headers.destination));\n",
        replace: "",
    },
    // ICMP, ARP, neighbour discovery.
    Mutant {
        name: "quoted-ports-as-in-the-flow",
        file: "forwarder-ebpf/src/icmp_flow.rs",
        breaks: "the ports in a translated quote are the wrong way round",
        search: "let new_ports = swap(flow.ports);",
        replace: "let new_ports = flow.ports;",
    },
    Mutant {
        name: "quoted-checksum-not-counted",
        file: "forwarder-ebpf/src/icmp_flow.rs",
        breaks: "the ICMP checksum misses the change of the quoted checksum",
        search: "        change = change.half(old, new);\n",
        replace: "",
    },
    Mutant {
        name: "icmpv6-without-pseudo-header",
        file: "forwarder-ebpf/src/icmp_flow.rs",
        breaks: "the ICMPv6 checksum misses the outer addresses",
        search: "let mut change = F::pseudo(F::readdress(packet, IP, outer)?);",
        replace: "F::readdress(packet, IP, outer)?;\n    let mut change = Change::none();",
    },
    Mutant {
        name: "error-about-somebody-else",
        file: "forwarder-ebpf/src/icmp.rs",
        breaks: "an error whose destination did not send the quoted packet is forwarded",
        search: "(quote.key.destination == headers.destination).then_some(quote)",
        replace: "Some(quote)",
    },
    Mutant {
        name: "echo-checksum-of-the-request",
        file: "forwarder-ebpf/src/icmp.rs",
        breaks: "an echo reply has the checksum of the request",
        search: "        message.checksum = Change::none().half(old, new).apply(message.checksum);\n        Some(())\n    };",
        replace: "        let _ = (old, new);\n        Some(())\n    };",
    },
    Mutant {
        name: "answered-on-every-interface",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "ARP is answered where another host should",
        search: ".is_some_and(|vip| vip.answers & bit != 0 &&",
        replace: ".is_some_and(|vip| vip.interfaces & bit != 0 &&",
    },
    Mutant {
        name: "arp-reply-to-nobody",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "the target MAC of an ARP reply is the request's",
        search: "target_mac: arp.sender_mac,",
        replace: "target_mac: arp.target_mac,",
    },
    Mutant {
        name: "nd-from-afar",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "a solicitation from beyond a router is answered",
        search: "        && ip.hop_limit == HOP_LIMIT\n",
        replace: "",
    },
    Mutant {
        name: "nd-checksum-unread",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "a damaged solicitation is answered",
        search: "        || fold(message_sum(packet, &ip, MESSAGE, length)?) != 0xffff\n",
        replace: "",
    },
    Mutant {
        name: "nd-probe-solicited",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "the answer to duplicate address detection is marked as solicited",
        search: "(ALL_NODES, OVERRIDE)",
        replace: "(ALL_NODES, SOLICITED | OVERRIDE)",
    },
    Mutant {
        name: "too-big-names-the-link",
        file: "forwarder-ebpf/src/tunnel.rs",
        breaks: "packet too big names an MTU without room for the outer header",
        search: "context.mtu = (backend.mtu as u32).saturating_sub(overhead as u32);",
        replace: "context.mtu = backend.mtu as u32;",
    },
    Mutant {
        name: "too-big-without-df",
        file: "forwarder-ebpf/src/family.rs",
        breaks: "a sender that allows fragments is told of an MTU",
        search: "            .is_some_and(|ip| ip.fragment & DO_NOT_FRAGMENT != 0)",
        replace: "            .is_some_and(|ip| ip.fragment & DO_NOT_FRAGMENT == 0 || true)",
    },
    // Counters.
    Mutant {
        name: "backend-counted-twice",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "a forwarded packet is counted twice for its backend",
        search: "    tables.count_backend(counter::index(backend, counter::Direction::In), bytes);\n",
        replace: "    tables.count_backend(counter::index(backend, counter::Direction::In), bytes);\n    tables.count_backend(counter::index(backend, counter::Direction::In), bytes);\n",
    },
    Mutant {
        name: "replies-counted-as-requests",
        file: "forwarder-ebpf/src/nat.rs",
        breaks: "a reply is counted in the client's direction",
        search: "let direction = if reply {\n            counter::Direction::Out",
        replace: "let direction = if reply {\n            counter::Direction::In",
    },
    Mutant {
        name: "bytes-of-the-outgoing-frame",
        file: "forwarder-ebpf/src/programs.rs",
        breaks: "bytes are counted after encapsulation",
        search: "count_reason(interface.slot, verdict.reason, context.bytes);",
        replace: "count_reason(interface.slot, verdict.reason, packet.length());",
    },
    Mutant {
        name: "gue-counted-as-ipip",
        file: "forwarder-ebpf/src/tunnel.rs",
        breaks: "`gue-dsr` packets end in the reason of another mode",
        search: "if gue { Reason::GueDsr } else { Reason::IpipDsr }",
        replace: "Reason::IpipDsr",
    },
    Mutant {
        name: "flood-kept-whole",
        file: "forwarder-ebpf/src/record.rs",
        breaks: "every dropped packet is kept, not one a tick",
        search: "last.is_some_and(|last| last.tick != tick())",
        replace: "last.is_some()",
    },
    Mutant {
        name: "kept-without-tags",
        file: "forwarder-ebpf/src/record.rs",
        breaks: "dropped packets lose their VLAN tags",
        search: "last.tags = context.tags;",
        replace: "last.tags = [0; 2];",
    },
    // Leases.
    Mutant {
        name: "standby-forwards",
        file: "forwarder-ebpf/src/pipeline.rs",
        breaks: "a node without a lease forwards",
        search: "if !tables.leased(lease::forward(server.group as u32)) {",
        replace: "if false && !tables.leased(lease::forward(server.group as u32)) {",
    },
    Mutant {
        name: "standby-sends-errors-on",
        file: "forwarder-ebpf/src/icmp.rs",
        breaks: "a node without a lease sends ICMP errors to backends",
        search: "if !tables.leased(lease::forward(server.group as u32)) {",
        replace: "if false && !tables.leased(lease::forward(server.group as u32)) {",
    },
    Mutant {
        name: "standby-answers",
        file: "forwarder-ebpf/src/answer.rs",
        breaks: "a node without a lease to answer answers for VIPs",
        search: "&& tables.leased(lease::answer(vip.group as u32))",
        replace: "&& (true || tables.leased(lease::answer(vip.group as u32)))",
    },
    Mutant {
        name: "wrong-group",
        file: "forwarder-common/src/lease.rs",
        breaks: "another group's lease counts",
        search: "group % GROUPS as u32 * 2",
        replace: "(group + 1) % GROUPS as u32 * 2",
    },
];
