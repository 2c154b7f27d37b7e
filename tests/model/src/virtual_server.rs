//! From the virtual server to the backend, and the modes that need no flow.

use std::net::IpAddr;

use forwarder_common::counter::Direction;
use forwarder_common::hash::{flow_hash, slot_of};
use forwarder_common::interface::admission::ALLOW;
use forwarder_common::protocol::TCP;
use forwarder_common::slot::NOWHERE;
use forwarder_common::virtual_server::{backend_flags, flags};
use forwarder_common::{Affinity, Backend, Mode, Reason, VirtualServer};

use crate::packet::Ip;
use crate::path::{Charge, End, Environment, Model, Packet, Step};
use crate::tables::{Hop, Tuple};
use crate::too_big::too_big;
use crate::{tunnel, wire};

/// How a packet chooses in a changed slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// TCP SYN.
    Syn,
    /// Any other packet.
    Other,
    /// One that begins a NAT flow, which will know its backend: as if nothing had been there before.
    NatFlow,
    /// An ICMP error about such a packet: writes nothing.
    Error,
}

impl Model {
    /// The packet is a virtual server's.
    pub(crate) fn serve(
        &mut self,
        packet: &Packet,
        server: &VirtualServer,
        environment: &mut dyn Environment,
    ) -> Step<End> {
        check_source(&packet.tuple)?;
        let mode = Mode::from_abi(server.mode).ok_or(Reason::DropInternal)?;
        if mode == Mode::Local {
            let charge = Charge {
                server: Some((server.id, Direction::In)),
                backend: None,
            };
            return Ok(End {
                charge,
                ..Reason::PassLocal.into()
            });
        }
        if self.tables.standby[0].contains(&server.group) {
            return Err(Reason::DropStandby.into());
        }
        self.admit(packet, server)?;
        if matches!(mode, Mode::Dnat | Mode::FullNat) {
            return self.translate_forward(packet, server, mode, environment);
        }
        if packet.is_syn() {
            self.admit_new(server, environment)?;
        }
        let chooser = if packet.is_syn() {
            Chooser::Syn
        } else {
            Chooser::Other
        };
        let (index, backend) = self.choose(&packet.tuple, server, chooser)?;
        let reason = match mode {
            Mode::L2Dsr => Reason::L2Dsr,
            Mode::IpipDsr => Reason::IpipDsr,
            _ => Reason::GueDsr,
        };
        let charge = Charge {
            server: Some((server.id, Direction::In)),
            backend: Some(index),
        };
        self.direct(packet, server, mode, &backend, (reason, charge))
    }

    /// Sends a packet to a backend in one of the DSR modes. ICMP errors come this way too.
    pub(crate) fn direct(
        &self,
        packet: &Packet,
        server: &VirtualServer,
        mode: Mode,
        backend: &Backend,
        (reason, charge): (Reason, Charge),
    ) -> Step<End> {
        let hop = next_hop(packet, backend)?;
        if mode == Mode::L2Dsr {
            check_size(packet, 0, backend.mtu.into())?;
            return Ok(End::sent(
                reason,
                packet.framed(&packet.ip, &hop),
                hop.ifindex,
                charge,
            ));
        }
        check_ttl(packet)?;
        let gue = mode == Mode::GueDsr;
        let overhead = tunnel::overhead(backend, gue);
        check_size(packet, overhead, backend.mtu.into())?;
        let mut inner = packet.ip.clone();
        inner.decrement_ttl();
        let headers = if inner.is_ipv6() { 60 } else { 40 };
        let derived = u32::from(backend.mtu).saturating_sub(overhead as u32 + headers);
        tunnel::clamp_mss(
            &mut inner,
            if server.mss != 0 { server.mss } else { derived },
        );
        let hash = self.hash(&packet.tuple, Affinity::FiveTuple);
        let outer = tunnel::wrap(&inner, backend, gue.then_some(self.tables.gue_port), hash);
        Ok(End::sent(
            reason,
            packet.framed(&outer, &hop),
            hop.ifindex,
            charge,
        ))
    }

    fn admit(&self, packet: &Packet, server: &VirtualServer) -> Step<()> {
        if server.flags & flags::LISTED == 0 {
            return Ok(());
        }
        let unlisted = server.flags & flags::DENY_UNLISTED == 0;
        let listed = self.tables.admission(server.id, packet.tuple.source);
        if listed.map_or(unlisted, |value| value == ALLOW) {
            Ok(())
        } else {
            Err(Reason::DropDenied.into())
        }
    }

    /// The rate guard, for a packet that begins a flow.
    pub(crate) fn admit_new(
        &self,
        server: &VirtualServer,
        environment: &mut dyn Environment,
    ) -> Step<()> {
        if server.new_flow_interval == 0 || environment.admits(server.id) {
            Ok(())
        } else {
            Err(Reason::DropRate.into())
        }
    }

    /// The backend of a 5-tuple, with its index.
    pub(crate) fn choose(
        &mut self,
        tuple: &Tuple,
        server: &VirtualServer,
        chooser: Chooser,
    ) -> Step<(u32, Backend)> {
        if server.table_size == 0 {
            return Err(Reason::DropNoBackend.into());
        }
        let hash = self.hash(tuple, Affinity::from_abi(server.affinity));
        let at = server.table_base + slot_of(hash, server.table_size);
        let slot = *self.tables.slots.get(&at).ok_or(Reason::DropInternal)?;
        let keeps = |index: &u32| self.keeps_flows(*index, tuple.protocol == TCP);
        let (current, previous) = (slot.current(), slot.previous());
        let index = if !slot.is_changed() || chooser == Chooser::NatFlow {
            current
        } else if tuple.protocol != TCP {
            if slot.in_grace() && keeps(&previous) {
                previous
            } else {
                current
            }
        } else if chooser == Chooser::Syn {
            self.tables.exceptions.remove(tuple);
            self.tables.embryonic_exceptions.insert(*tuple, current);
            current
        } else if let Some(kept) = self.tables.exceptions.get(tuple).copied().filter(keeps) {
            kept
        } else {
            let embryonic = self.tables.embryonic_exceptions.get(tuple).copied();
            let kept = embryonic
                .filter(keeps)
                .or_else(|| Some(previous).filter(keeps));
            if let Some(kept) = kept.filter(|_| chooser == Chooser::Other) {
                self.tables.exceptions.insert(*tuple, kept);
            }
            kept.unwrap_or(current)
        };
        if index == NOWHERE {
            return Err(Reason::DropNoBackend.into());
        }
        let backend = self
            .tables
            .backends
            .get(&index)
            .ok_or(Reason::DropInternal)?;
        Ok((index, *backend))
    }

    /// Whether a backend takes or keeps flows; one that is down may keep those of TCP.
    pub(crate) fn keeps_flows(&self, index: u32, tcp: bool) -> bool {
        let Some(backend) = self.tables.backends.get(&index) else {
            return false;
        };
        let up = backend.flags & backend_flags::KEEPS_FLOWS != 0;
        let down_with_tcp = backend.flags & backend_flags::KEEPS_TCP != 0;
        up || tcp && down_with_tcp
    }

    /// The flow hash.
    pub(crate) fn hash(&self, tuple: &Tuple, affinity: Affinity) -> u32 {
        let ports = wire::ports(tuple.source_port, tuple.destination_port);
        let key = self.tables.hash_key;
        match (tuple.source, tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => flow_hash(
                wire::v4_word(source),
                wire::v4_word(destination),
                ports,
                tuple.protocol,
                affinity,
                key,
            ),
            (source, destination) => {
                let (source, destination) = (wire::any_words(source), wire::any_words(destination));
                flow_hash(source, destination, ports, tuple.protocol, affinity, key)
            }
        }
    }
}

/// The link to a backend.
pub(crate) fn next_hop(packet: &Packet, backend: &Backend) -> Step<Hop> {
    if backend.ifindex == 0 {
        return Err(Reason::DropNoNextHop.into());
    }
    Ok(Hop {
        destination_mac: wire::mac(backend.destination_mac),
        source_mac: wire::mac(backend.source_mac),
        ifindex: backend.ifindex,
        tags: packet.tags_on(backend.ifindex),
    })
}

/// Ends the path of a packet that may not be forwarded once more.
pub(crate) fn check_ttl(packet: &Packet) -> Step<()> {
    if packet.ip.ttl() <= 1 {
        Err(Reason::DropTtl.into())
    } else {
        Ok(())
    }
}

/// Ends the path of a packet that does not fit.
pub(crate) fn check_size(packet: &Packet, overhead: usize, mtu: u32) -> Step<()> {
    let length = packet.ip.bytes.len() + overhead;
    if length > mtu as usize {
        return Err(too_big(packet, mtu.saturating_sub(overhead as u32)));
    }
    Ok(())
}

/// Ends the path of a packet whose source no client can have.
pub(crate) fn check_source(tuple: &Tuple) -> Step<()> {
    if is_bad_source(tuple.source) || tuple.source == tuple.destination {
        return Err(Reason::DropBadSource.into());
    }
    Ok(())
}

/// Whether no packet of a client can have this source.
fn is_bad_source(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(source) => matches!(source.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(source) => {
            source.is_unspecified()
                || source.is_loopback()
                || source.is_multicast()
                || source.to_ipv4_mapped().is_some()
        }
    }
}

/// The packet's IP part with one TTL less.
pub(crate) fn forwarded(packet: &Packet) -> Ip {
    let mut ip = packet.ip.clone();
    ip.decrement_ttl();
    ip
}
