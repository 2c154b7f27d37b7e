//! NAT flows: forward, reply, egress.

use forwarder_common::counter::Direction;
use forwarder_common::hash::{SNAT_ATTEMPTS, snat_candidate};
use forwarder_common::interface::flags::{ACTIVE, EGRESS, NAT};
use forwarder_common::protocol::TCP;
use forwarder_common::virtual_server::{AUTOMAP, NO_SNAT};
use forwarder_common::{Affinity, Backend, Mode, Reason, VirtualServer};

use crate::packet::tcp;
use crate::path::{Charge, End, Environment, Fib, Model, Packet, Step};
use crate::tables::{Flow, Hop, Tuple};
use crate::tunnel::clamp_mss;
use crate::virtual_server::{Chooser, check_size, check_ttl, forwarded, next_hop};

impl Model {
    /// A packet of a NAT virtual server.
    pub(crate) fn translate_forward(
        &mut self,
        packet: &Packet,
        server: &VirtualServer,
        mode: Mode,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let reason = if mode == Mode::FullNat {
            Reason::FullNat
        } else {
            Reason::Dnat
        };
        let hit = self
            .tables
            .flow(&packet.tuple)
            .filter(|flow| !flow.reply && !flow.egress)
            .cloned();
        let index = hit.as_ref().and_then(|flow| flow.backend);
        let tcp = packet.tuple.protocol == TCP;
        let dead = index.is_some_and(|index| !self.keeps_flows(index, tcp));
        if let (Some(flow), Some(index), false) =
            (&hit, index, dead || self.is_reopened(packet, hit.as_ref()))
        {
            let backend = *self
                .tables
                .backends
                .get(&index)
                .ok_or(Reason::DropInternal)?;
            let becomes = flow.becomes;
            let hop = checked_hop(packet, &backend)?;
            self.promote(packet, &becomes);
            return Ok(self.send_forward(packet, server, &becomes, &hop, (reason, index)));
        }
        if !dead {
            may_begin(packet)?;
        }
        let (index, backend) = self.choose(&packet.tuple, server, Chooser::NatFlow)?;
        let hop = checked_hop(packet, &backend)?;
        self.admit_new(server, environment)?;
        let to = Tuple {
            destination: crate::wire::any(backend.address, packet.ip.is_ipv6()),
            destination_port: match u16::from_be(backend.port) {
                0 => packet.tuple.destination_port,
                port => port,
            },
            ..packet.tuple
        };
        let pool = match (mode, server.snat_pool) {
            (Mode::Dnat, _) => None,
            (_, AUTOMAP) => Some(backend.automap),
            (_, pool) => Some(pool),
        };
        let template = Flow {
            becomes: to,
            hop: None,
            backend: Some(index),
            id: server.id,
            mss: server.mss,
            reply: false,
            egress: false,
            seen: false,
            fin: false,
            rst: false,
        };
        let becomes = self.create(packet, pool, hit.as_ref(), template)?;
        Ok(self.send_forward(packet, server, &becomes, &hop, (reason, index)))
    }

    /// Removes both entries of the flow that a new one takes the place of.
    fn forget(&mut self, packet: &Packet, old: Option<&Flow>) {
        if let Some(flow) = old {
            self.tables.remove_flow(&packet.tuple);
            self.tables.remove_flow(&flow.becomes.turned());
        }
    }

    /// A client that reuses the ports of a closed flow, or whose half-open flow can't be answered.
    fn is_reopened(&self, packet: &Packet, hit: Option<&Flow>) -> bool {
        let half_open = self.tables.embryonic.contains_key(&packet.tuple);
        let may = packet.is_syn() || half_open && packet.tuple.protocol != TCP;
        may && hit.is_some_and(|flow| self.is_closed(flow))
    }

    /// Whether both sides have finished the flow, one has reset it, or it has lost its other entry; either
    /// entry will do.
    fn is_closed(&self, flow: &Flow) -> bool {
        let Some(other) = self.tables.flow(&flow.becomes.turned()) else {
            return true;
        };
        flow.rst || other.rst || (flow.fin && other.fin)
    }

    /// Writes both entries of a new flow and tells what its packets become.
    fn create(
        &mut self,
        packet: &Packet,
        pool: Option<u32>,
        old: Option<&Flow>,
        forward: Flow,
    ) -> Step<Tuple> {
        let candidates = match pool {
            None => vec![forward.becomes],
            Some(pool) => self.candidates(packet, forward.becomes, pool),
        };
        self.forget(packet, old);
        let becomes = self.claim(&candidates).ok_or(Reason::DropSnatExhausted)?;
        let reply = Flow {
            becomes: packet.tuple.turned(),
            reply: true,
            hop: Some(packet.back()),
            ..forward.clone()
        };
        self.tables.embryonic.insert(becomes.turned(), reply);
        self.tables
            .embryonic
            .insert(packet.tuple, Flow { becomes, ..forward });
        Ok(becomes)
    }

    /// The first candidate whose reply tuple no flow has; else the last whose flow is only half open, or
    /// closed: that flow loses it.
    fn claim(&mut self, candidates: &[Tuple]) -> Option<Tuple> {
        let free = candidates
            .iter()
            .find(|becomes| self.tables.flow(&becomes.turned()).is_none());
        if let Some(free) = free {
            return Some(*free);
        }
        let yields = |becomes: &&Tuple| {
            let reply = becomes.turned();
            let established = self.tables.flows.get(&reply);
            established.is_none_or(|flow| self.is_closed(flow))
        };
        let taken = *candidates.iter().rfind(yields)?;
        let ousted = self.tables.flow(&taken.turned())?.becomes.turned();
        self.tables.remove_flow(&ousted);
        self.tables.remove_flow(&taken.turned());
        Some(taken)
    }

    /// The translations that SNAT offers.
    fn candidates(&self, packet: &Packet, to: Tuple, pool: u32) -> Vec<Tuple> {
        let pool = self
            .tables
            .snat_pools
            .get(&pool)
            .filter(|pool| pool.count != 0);
        let hash = self.hash(&packet.tuple, Affinity::FiveTuple);
        let candidate = |attempt| {
            let (address, source_port) = snat_candidate(hash, attempt, pool?);
            let source = *self.tables.snat_addresses.get(&address)?;
            Some(Tuple {
                source,
                source_port,
                ..to
            })
        };
        (0..SNAT_ATTEMPTS).filter_map(candidate).collect()
    }

    /// Notes what a forward packet changes in its flow's entries.
    fn promote(&mut self, packet: &Packet, becomes: &Tuple) {
        let (forward, reply) = (packet.tuple, becomes.turned());
        if let Some(entry) = self.tables.flow_mut(&reply) {
            entry.hop = Some(packet.back());
        }
        self.note_closing(packet);
        let answered = self
            .tables
            .embryonic
            .get(&reply)
            .is_some_and(|entry| entry.seen);
        let promotes = !packet.is_syn() && packet.flags() & tcp::RST == 0;
        let ipv6 = packet.ip.is_ipv6();
        let established = self.tables.flow_counts[usize::from(ipv6)];
        let room = established + 2 <= self.tables.flow_capacity;
        if answered && promotes && room && self.tables.embryonic.contains_key(&forward) {
            for key in [reply, forward] {
                if let Some(entry) = self.tables.embryonic.remove(&key) {
                    self.tables.flow_counts[usize::from(ipv6)] += 1;
                    self.tables.flows.insert(key, entry);
                }
            }
        }
    }

    fn note_closing(&mut self, packet: &Packet) {
        let flags = packet.flags();
        if let Some(entry) = self.tables.flow_mut(&packet.tuple) {
            entry.seen = true;
            entry.fin |= flags & tcp::FIN != 0;
            entry.rst |= flags & tcp::RST != 0;
        }
    }

    fn send_forward(
        &self,
        packet: &Packet,
        server: &VirtualServer,
        becomes: &Tuple,
        hop: &Hop,
        (reason, backend): (Reason, u32),
    ) -> End {
        let mut ip = forwarded(packet);
        if server.mss != 0 {
            clamp_mss(&mut ip, server.mss);
        }
        ip.translate(becomes);
        let charge = Charge {
            server: Some((server.id, Direction::In)),
            backend: Some(backend),
        };
        End::sent(reason, packet.framed(&ip, hop), hop.ifindex, charge)
    }

    /// A packet that no virtual server has: a reply, egress, or not ours.
    pub(crate) fn without_server(
        &mut self,
        packet: &Packet,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let flags = packet.interface.flags;
        let hit = self
            .tables
            .flow(&packet.tuple)
            .filter(|flow| flow.reply || flow.egress);
        let hit = hit.filter(|_| flags & (NAT | EGRESS) != 0).cloned();
        if let Some(flow) = &hit {
            if flow.reply {
                return self.translate_reply(packet, flow);
            }
            if !self.is_reopened(packet, hit.as_ref()) {
                return self.egress_hit(packet, flow, environment);
            }
        }
        let snat = self.tables.snat_ranges.get(&packet.tuple.destination);
        if flags & (NAT | EGRESS) != 0
            && snat.is_some_and(|range| {
                (range.low..=range.high).contains(&packet.tuple.destination_port)
            })
        {
            return Err(Reason::DropSnatNoFlow.into());
        }
        if flags & EGRESS != 0 {
            return self.egress_new(packet, hit.as_ref(), environment);
        }
        Err(Reason::PassNotOurs.into())
    }

    fn translate_reply(&mut self, packet: &Packet, flow: &Flow) -> Step<End> {
        let hop = self.link_of(packet, flow)?;
        self.note_closing(packet);
        let mut ip = forwarded(packet);
        if flow.mss != 0 {
            clamp_mss(&mut ip, flow.mss);
        }
        ip.translate(&flow.becomes);
        let reason = if flow.egress {
            Reason::EgressReply
        } else {
            Reason::NatReply
        };
        let charge = Charge {
            server: Some((flow.id, Direction::Out)),
            backend: flow.backend,
        };
        Ok(End::sent(
            reason,
            packet.framed(&ip, &hop),
            hop.ifindex,
            charge,
        ))
    }

    /// The link in a flow entry, after the checks of next hop, TTL and size.
    pub(crate) fn link_of(&self, packet: &Packet, flow: &Flow) -> Step<Hop> {
        let hop = flow
            .hop
            .clone()
            .filter(|hop| hop.ifindex != 0)
            .ok_or(Reason::DropNoNextHop)?;
        self.check_interface(packet, hop.ifindex)?;
        Ok(hop)
    }

    /// Ends the path of a packet that cannot leave by an interface.
    pub(crate) fn check_interface(&self, packet: &Packet, ifindex: u32) -> Step<()> {
        let egress = self.tables.interfaces.get(&ifindex);
        let egress = egress
            .filter(|egress| egress.flags & ACTIVE != 0)
            .ok_or(Reason::DropNoNextHop)?;
        check_ttl(packet)?;
        check_size(packet, 0, egress.mtu.into())
    }

    fn egress_hit(
        &mut self,
        packet: &Packet,
        flow: &Flow,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let hop = match environment.route(&packet.tuple) {
            Fib::Hop(hop) => hop,
            _ => flow.hop.clone().ok_or(Reason::DropNoNextHop)?,
        };
        self.check_interface(packet, hop.ifindex)?;
        self.promote(packet, &flow.becomes);
        Ok(egress_sent(packet, &flow.becomes, hop, flow.id))
    }

    fn egress_new(
        &mut self,
        packet: &Packet,
        old: Option<&Flow>,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        let rule = self
            .tables
            .egress_rule(packet.tuple.source)
            .ok_or(Reason::PassNotOurs)?;
        let hop = match environment.route(&packet.tuple) {
            Fib::Hop(hop) if hop.ifindex == rule.ifindex => hop,
            Fib::NoNeighbour(ifindex) if ifindex == rule.ifindex => {
                return Err(Reason::DropNoNextHop.into());
            }
            _ => return Err(Reason::PassNotOurs.into()),
        };
        may_begin(packet)?;
        self.check_interface(packet, hop.ifindex)?;
        let pool = match rule.snat_pool {
            AUTOMAP => self
                .tables
                .interfaces
                .get(&rule.ifindex)
                .map_or(NO_SNAT, |interface| {
                    if packet.ip.is_ipv6() {
                        interface.automap6
                    } else {
                        interface.automap4
                    }
                }),
            pool => pool,
        };
        let template = Flow {
            becomes: packet.tuple,
            hop: Some(hop.clone()),
            backend: None,
            id: rule.id,
            mss: 0,
            reply: false,
            egress: true,
            seen: false,
            fin: false,
            rst: false,
        };
        let becomes = self.create(packet, Some(pool), old, template)?;
        Ok(egress_sent(packet, &becomes, hop, rule.id))
    }
}

/// The backend's link, after the checks of next hop, TTL and size.
pub(crate) fn checked_hop(packet: &Packet, backend: &Backend) -> Step<Hop> {
    let hop = next_hop(packet, backend)?;
    check_ttl(packet)?;
    check_size(packet, 0, backend.mtu.into())?;
    Ok(hop)
}

/// Ends the path of a TCP packet that cannot begin a flow.
fn may_begin(packet: &Packet) -> Step<()> {
    if packet.tuple.protocol == TCP && !packet.is_syn() {
        Err(Reason::DropNoFlow.into())
    } else {
        Ok(())
    }
}

fn egress_sent(packet: &Packet, becomes: &Tuple, mut hop: Hop, id: u32) -> End {
    hop.tags = packet.tags_on(hop.ifindex);
    let mut ip = forwarded(packet);
    ip.translate(becomes);
    let charge = Charge {
        server: Some((id, Direction::In)),
        backend: None,
    };
    End::sent(
        Reason::EgressSnat,
        packet.framed(&ip, &hop),
        hop.ifindex,
        charge,
    )
}
