//! The packet path, top to bottom: link, IP, virtual server, admission, backend, way out.
//!
//! `docs/packet-path.md` says the same in prose. What is rare or long goes on in a stage program of its
//! own ([`Step::Next`]), so that every program stays small enough for every kernel's verifier.

use forwarder_common::programs::StageProgram;
use forwarder_common::virtual_server::{flags as server_flags, service};
use forwarder_common::{
    FragmentKey, Interface, Mode, Reason, Stage, V4, V6, VipKey, VirtualServer, counter, interface,
    lease, protocol,
};

use crate::choose::{self, Age};
use crate::context::Context;
use crate::family::{Family, FamilyV4, FamilyV6, IP};
use crate::header::{Ethernet, Icmp, Ipv6, ethertype};
use crate::link;
use crate::lookup::{FamilyTables, Tables};
use crate::packet::Packet;
use crate::parse::{Fragment, Headers};
use crate::verdict::{Step, Verdict};

/// Neighbour solicitation (RFC 4861).
pub const SOLICITATION: u8 = 135;

/// The stage programs of a family.
pub trait Stages: Family {
    /// Tunnel modes.
    const TUNNEL_STAGE: StageProgram;
    /// Known NAT flows.
    const NAT_STAGE: StageProgram;
    /// New NAT flows.
    const NEW_FLOW_STAGE: StageProgram;
    /// Egress SNAT.
    const EGRESS_STAGE: StageProgram;
    /// ICMP.
    const ICMP_STAGE: StageProgram;
    /// ICMP errors about NAT flows.
    const ICMP_FLOW_STAGE: StageProgram;
    /// Too big.
    const TOO_BIG_STAGE: StageProgram;
    /// Connections that were forgotten.
    const RESET_STAGE: StageProgram;
    /// Echoes between the nodes of a pair.
    const REFLECT_STAGE: StageProgram;
}

impl Stages for FamilyV4 {
    const TUNNEL_STAGE: StageProgram = StageProgram::Tunnel4;
    const NAT_STAGE: StageProgram = StageProgram::Nat4;
    const NEW_FLOW_STAGE: StageProgram = StageProgram::NewFlow4;
    const EGRESS_STAGE: StageProgram = StageProgram::Egress4;
    const ICMP_STAGE: StageProgram = StageProgram::Icmp4;
    const ICMP_FLOW_STAGE: StageProgram = StageProgram::IcmpFlow4;
    const TOO_BIG_STAGE: StageProgram = StageProgram::TooBig4;
    const RESET_STAGE: StageProgram = StageProgram::Reset4;
    const REFLECT_STAGE: StageProgram = StageProgram::Reflect4;
}

impl Stages for FamilyV6 {
    const TUNNEL_STAGE: StageProgram = StageProgram::Tunnel6;
    const NAT_STAGE: StageProgram = StageProgram::Nat6;
    const NEW_FLOW_STAGE: StageProgram = StageProgram::NewFlow6;
    const EGRESS_STAGE: StageProgram = StageProgram::Egress6;
    const ICMP_STAGE: StageProgram = StageProgram::Icmp6;
    const ICMP_FLOW_STAGE: StageProgram = StageProgram::IcmpFlow6;
    const TOO_BIG_STAGE: StageProgram = StageProgram::TooBig6;
    const RESET_STAGE: StageProgram = StageProgram::Reset6;
    const REFLECT_STAGE: StageProgram = StageProgram::Reflect6;
}

/// The entry: every frame that comes in on one of our interfaces.
#[inline(always)]
pub fn enter<P: Packet, T: FamilyTables<V4> + FamilyTables<V6>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let Some(inside) = link::untag(packet, context) else {
        return Reason::PassNotIp.into();
    };
    tables.note(Stage::Interface, interface.slot, context.tags[0] as u64);
    if inside == ethertype::ARP {
        return Step::Next(StageProgram::Answer);
    }
    let v4 = inside == ethertype::IPV4;
    if !v4 && inside != ethertype::IPV6 {
        return Reason::PassNotIp.into();
    }
    let Some(ethernet) = packet.at::<Ethernet>(0) else {
        return Reason::DropTruncated.into();
    };
    let destination = ethernet.destination;
    if destination != interface.mac {
        if !v4 && is_multicast_solicitation(packet) {
            return Step::Next(StageProgram::Answer);
        }
        return Reason::PassOtherHost.into();
    }
    if v4 {
        ip::<FamilyV4, P, T>(packet, tables, interface, context)
    } else {
        ip::<FamilyV6, P, T>(packet, tables, interface, context)
    }
}

/// Neighbour solicitations come by multicast, before anybody knows our MAC.
#[inline(always)]
fn is_multicast_solicitation<P: Packet>(packet: &P) -> bool {
    const MULTICAST: u16 = 0x3333;
    packet
        .at::<Ethernet>(0)
        .is_some_and(|ethernet| { ethernet.destination }[0] == MULTICAST)
        && packet
            .at::<Ipv6>(IP)
            .is_some_and(|ip| ip.next_header == FamilyV6::ICMP)
        && packet
            .at::<Icmp>(IP + Ipv6::LENGTH)
            .is_some_and(|icmp| icmp.kind == SOLICITATION)
}

#[inline(always)]
fn ip<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let mut headers = match F::parse(packet, tables) {
        Ok(headers) => headers,
        Err(reason) => return fault::<F, P, T>(packet, tables, interface, reason).into(),
    };
    if headers.protocol == F::ICMP {
        return Step::Next(F::ICMP_STAGE);
    }
    if headers.fragment == Fragment::Later {
        match recall(tables, &headers) {
            Some(ports) => headers.ports = ports,
            None => {
                return fault::<F, P, T>(packet, tables, interface, Reason::DropFragment).into();
            }
        }
    }
    headers.keep(context);
    tables.note(Stage::Parse, headers.protocol as u32, headers.ports as u64);
    match find_server::<F, T>(
        tables,
        interface,
        headers.destination,
        headers.destination_port(),
        headers.protocol,
    ) {
        Some(server) => serve::<F, P, T>(packet, tables, interface, context, &headers, server),
        None if tables.pair_port() != 0
            && headers.protocol == protocol::UDP
            && headers.destination_port() == tables.pair_port() =>
        {
            Step::Next(F::REFLECT_STAGE)
        }
        None => not_asked::<F>(interface),
    }
}

/// No virtual server is asked: a reply to one, or what leaves by egress SNAT, or the host's.
#[inline(always)]
pub fn not_asked<F: Stages>(interface: &Interface) -> Step {
    if interface.flags & (interface::flags::NAT | interface::flags::EGRESS) != 0 {
        return Step::Next(F::NAT_STAGE);
    }
    Reason::PassNotOurs.into()
}

/// A packet with a broken or unknown header: ours is dropped, anything else is the host's.
#[inline(always)]
fn fault<F: Family, P: Packet, T: FamilyTables<F::Address>>(
    packet: &P,
    tables: &T,
    interface: &Interface,
    reason: Reason,
) -> Verdict {
    let verdict = Verdict::from(reason);
    let Some(destination) = F::destination(packet) else {
        return verdict;
    };
    if verdict == Verdict::drop(reason) && !is_ours::<F, T>(tables, interface, destination) {
        return Verdict::pass(Reason::PassNotOurs);
    }
    verdict
}

/// Whether an address is a VIP here, whatever the port.
#[inline(always)]
pub fn is_ours<F: Family, T: FamilyTables<F::Address>>(
    tables: &T,
    interface: &Interface,
    address: F::Address,
) -> bool {
    let bit = 1 << (interface.slot & 63);
    tables
        .vip_address(address)
        .is_some_and(|vip| vip.interfaces & bit != 0)
}

/// The ports of a later fragment, from its first.
#[inline(always)]
fn recall<F: Family, T: FamilyTables<F::Address>>(tables: &T, headers: &Headers<F>) -> Option<u32> {
    let ports = tables.fragment(&fragment_key(headers))?;
    tables.note(Stage::Fragment, 1, ports as u64);
    Some(ports)
}

/// Remembers a first fragment's ports for the later ones.
#[inline(always)]
pub fn remember<F: Family, T: FamilyTables<F::Address>>(tables: &T, headers: &Headers<F>) {
    if T::WRITE && headers.fragment == Fragment::First {
        tables.add_fragment(&fragment_key(headers), headers.ports);
    }
}

#[inline(always)]
fn fragment_key<F: Family>(headers: &Headers<F>) -> FragmentKey<F::Address> {
    FragmentKey {
        source: headers.source,
        destination: headers.destination,
        id: headers.fragment_id,
        protocol: headers.protocol as u32,
    }
}

/// The virtual server for a destination, by port, else for every port.
#[inline(always)]
pub fn find_server<'a, F: Family, T: FamilyTables<F::Address>>(
    tables: &'a T,
    interface: &Interface,
    address: F::Address,
    port: u16,
    protocol: u8,
) -> Option<&'a VirtualServer> {
    let bit = 1 << (interface.slot & 63);
    let mut key = VipKey {
        address,
        service: service(port, protocol),
    };
    let mut server = tables
        .virtual_server(&key)
        .filter(|server| server.interfaces & bit != 0);
    if server.is_none() && interface.flags & interface::flags::ANY_PORT != 0 {
        key.service = service(0, protocol);
        server = tables
            .virtual_server(&key)
            .filter(|server| server.interfaces & bit != 0);
    }
    match server {
        Some(server) => tables.note(Stage::VirtualServer, server.id, server.mode as u64),
        None => tables.note(Stage::NoVirtualServer, key.service, 0),
    }
    server
}

/// A packet for a virtual server.
#[inline(always)]
fn serve<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    server: &VirtualServer,
) -> Step {
    if F::is_bad_source(headers.source) || headers.source == headers.destination {
        return Reason::DropBadSource.into();
    }
    if server.mode == Mode::Local as u8 {
        tables.count_virtual_server(
            counter::index(server.id, counter::Direction::In),
            context.bytes,
        );
        remember(tables, headers);
        return Reason::PassLocal.into();
    }
    if !tables.leased(lease::forward(server.group as u32)) {
        return Reason::DropStandby.into();
    }
    if let Err(reason) = admit::<F, T>(tables, server, headers) {
        return reason.into();
    }
    if server.mode == Mode::Dnat as u8 || server.mode == Mode::FullNat as u8 {
        context.virtual_server = *server;
        context.matched = 1;
        return Step::Next(F::NAT_STAGE);
    }
    let age = if headers.is_syn() {
        Age::New
    } else {
        Age::Older
    };
    let index = match choose::backend::<F, T>(tables, server, &headers.key(), age) {
        Ok(index) => index,
        Err(reason) => return reason.into(),
    };
    context.backend = index;
    if server.mode != Mode::L2Dsr as u8 {
        context.virtual_server = *server;
        return Step::Next(F::TUNNEL_STAGE);
    }
    let reason = Reason::L2Dsr;
    switch::<F, P, T>(
        packet, tables, interface, context, headers, server.id, reason,
    )
}

/// `l2-dsr`: nothing but MAC addresses changes.
#[inline(always)]
pub fn switch<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
    headers: &Headers<F>,
    id: u32,
    reason: Reason,
) -> Step {
    let Some(backend) = tables.backend(context.backend) else {
        return Reason::DropInternal.into();
    };
    tables.note(Stage::Backend, context.backend, backend.ifindex as u64);
    if backend.ifindex == 0 {
        return choose::no_way(context.backend).into();
    }
    if headers.length > backend.mtu as u32 {
        tables.note(Stage::Mtu, headers.length, backend.mtu as u64);
        context.mtu = backend.mtu as u32;
        return Step::Next(F::TOO_BIG_STAGE);
    }
    remember(tables, headers);
    if reason as u32 != Reason::IcmpError as u32 {
        count_in(tables, id, context.backend, context.bytes);
    }
    Step::Done(link::to_backend(
        packet, tables, interface, context, backend, reason,
    ))
}

/// Counts a packet on its way from a client to a backend.
#[inline(always)]
pub fn count_in<T: Tables>(tables: &T, id: u32, backend: u32, bytes: u32) {
    tables.count_virtual_server(counter::index(id, counter::Direction::In), bytes);
    tables.count_backend(counter::index(backend, counter::Direction::In), bytes);
}

/// Allow and deny lists, and the guard on new flows (NAT flows pass it where they are made).
#[inline(always)]
fn admit<F: Family, T: FamilyTables<F::Address>>(
    tables: &T,
    server: &VirtualServer,
    headers: &Headers<F>,
) -> Result<(), Reason> {
    if server.flags & server_flags::LISTED != 0 {
        let default = (server.flags & server_flags::DENY_UNLISTED == 0) as u32;
        let admitted = tables
            .admission(server.id, headers.source)
            .unwrap_or(default);
        tables.note(Stage::Admission, admitted, 0);
        if admitted == interface::admission::DENY {
            return Err(Reason::DropDenied);
        }
    }
    let stateless = server.mode < Mode::Dnat as u8;
    if server.new_flow_interval != 0 && stateless && headers.is_syn() {
        guard(tables, server)?;
    }
    Ok(())
}

/// Lets a new flow through if the virtual server's bucket has a token.
///
/// The bucket is one word, the time at which it would be full again (GCRA); CPUs that race on it may let
/// one flow more through.
#[inline(always)]
pub fn guard<T: Tables>(tables: &T, server: &VirtualServer) -> Result<(), Reason> {
    let interval = server.new_flow_interval as u64;
    if interval == 0 {
        return Ok(());
    }
    let Some(mut full_at) = tables.rate(server.id) else {
        return Err(Reason::DropInternal);
    };
    let now = tables.now_nanoseconds();
    let from = if *full_at > now { *full_at } else { now };
    if from + interval - now > interval * server.new_flow_burst as u64 {
        return Err(Reason::DropRate);
    }
    if T::WRITE {
        *full_at = from + interval;
    }
    Ok(())
}
