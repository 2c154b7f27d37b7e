//! What is told of a flow, in words that mean the same on both nodes: addresses and names, no indices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::{FlowKey, V4, V6};

use super::super::wire::{Input, Refusal};

/// How the client's packets come in, mirrored: interface by the hash of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// [`name_hash`] of the interface's name in the file.
    pub interface: u32,
    /// Who the client's packets come from.
    pub mac: [u16; 3],
    /// VLAN tags.
    pub tags: [u32; 2],
}

/// An established NAT flow of a client, or of egress SNAT (`state::EGRESS` is set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<A> {
    /// What the client sends.
    pub key: FlowKey<A>,
    /// New source address.
    pub source: A,
    /// New destination address: the backend's, or the same.
    pub destination: A,
    /// New ports.
    pub ports: u32,
    /// `state` of the forward and of the reply entry; the MSS clamp in the forward's high half.
    pub states: [u32; 2],
    /// The way back to who began it.
    pub way: Way,
    /// Of egress SNAT: the way out.
    pub out: Option<Way>,
}

/// What has happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<A> {
    /// It is there, and is so.
    Flow(Flow<A>),
    /// The entries with these keys are gone.
    Gone(FlowKey<A>, FlowKey<A>),
    /// A flow of a changed slot keeps this backend (address, and port or 0).
    Kept(FlowKey<A>, IpAddr, u16),
    /// It no longer does.
    Released(FlowKey<A>),
}

/// One thing that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Everything there is follows.
    Begin,
    /// That was everything.
    End,
    /// A part, and whether it is the last, of [`super::backends::Backends`].
    Backends(bool, Vec<u8>),
    /// A part, and whether it is the last, of what slots remember of the time before.
    Past(bool, Vec<u8>),
    /// Of IPv4.
    V4(Change<V4>),
    /// Of IPv6.
    V6(Change<V6>),
    /// Something that this version does not know.
    Other,
}

impl From<Change<V4>> for Entry {
    fn from(change: Change<V4>) -> Self {
        Self::V4(change)
    }
}

impl From<Change<V6>> for Entry {
    fn from(change: Change<V6>) -> Self {
        Self::V6(change)
    }
}

/// What an interface is known by on both nodes (FNV-1a).
pub fn name_hash(name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step)
}

const BEGIN: u8 = 0;
const END: u8 = 1;
const FLOW: u8 = 2;
const GONE: u8 = 3;
const KEPT: u8 = 4;
const RELEASED: u8 = 5;
const BACKENDS: u8 = 6;
const BACKENDS_END: u8 = 7;
const PAST: u8 = 8;
const PAST_END: u8 = 9;
/// What has this bit says how long it is: whoever does not know it passes over it. Kinds that come later have it.
const SIZED: u8 = 0x40;
const EGRESS: u8 = SIZED;
const IPV6: u8 = 0x80;

impl Entry {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Begin => out.push(BEGIN),
            Self::End => out.push(END),
            Self::Backends(last, part) => {
                put_part(if *last { BACKENDS_END } else { BACKENDS }, part, out);
            }
            Self::Past(last, part) => put_part(if *last { PAST_END } else { PAST }, part, out),
            Self::V4(change) => put_change(change, 0, out),
            Self::V6(change) => put_change(change, IPV6, out),
            Self::Other => put_part(SIZED | !(SIZED | IPV6), &[], out),
        }
    }

    /// Calls `each` with every entry of a chunk.
    pub fn decode_all(chunk: &[u8], mut each: impl FnMut(Self)) -> Result<(), Refusal> {
        let mut input = Input(chunk);
        while !input.0.is_empty() {
            let [kind] = input.array()?;
            each(match (kind, kind & IPV6) {
                (BEGIN, _) => Self::Begin,
                (END, _) => Self::End,
                (BACKENDS | BACKENDS_END, _) => {
                    Self::Backends(kind == BACKENDS_END, get_part(&mut input)?)
                }
                (PAST | PAST_END, _) => Self::Past(kind == PAST_END, get_part(&mut input)?),
                (_, family) if kind & SIZED != 0 => {
                    let part = get_part(&mut input)?;
                    match (kind & !IPV6, family) {
                        (EGRESS, 0) => Self::V4(get_egress(&part)?),
                        (EGRESS, _) => Self::V6(get_egress(&part)?),
                        _ => Self::Other,
                    }
                }
                (_, 0) => Self::V4(get_change(kind, &mut input)?),
                _ => Self::V6(get_change(kind & !IPV6, &mut input)?),
            });
        }
        Ok(())
    }
}

/// Words of an address in a chunk.
trait Words: Copy {
    fn put(self, out: &mut Vec<u8>);
    fn get(input: &mut Input<'_>) -> Result<Self, Refusal>;
}

impl Words for u32 {
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }

    fn get(input: &mut Input<'_>) -> Result<Self, Refusal> {
        input.array().map(Self::from_le_bytes)
    }
}

impl Words for V6 {
    fn put(self, out: &mut Vec<u8>) {
        self.into_iter().for_each(|word| word.put(out));
    }

    fn get(input: &mut Input<'_>) -> Result<Self, Refusal> {
        let mut words = [0; 4];
        for word in &mut words {
            *word = u32::get(input)?;
        }
        Ok(words)
    }
}

fn put_change<A: Words>(change: &Change<A>, family: u8, out: &mut Vec<u8>) {
    match change {
        Change::Flow(flow) => match &flow.out {
            None => {
                out.push(FLOW | family);
                put_flow(flow, out);
            }
            Some(way) => {
                let mut part = Vec::with_capacity(128);
                put_flow(flow, &mut part);
                put_way(way, &mut part);
                put_part(EGRESS | family, &part, out);
            }
        },
        Change::Gone(key, other) => {
            out.push(GONE | family);
            put_key(key, out);
            put_key(other, out);
        }
        Change::Kept(key, backend, port) => {
            out.push(KEPT | family);
            put_key(key, out);
            let (length, bytes) = match backend {
                IpAddr::V4(address) => (4, address.to_ipv6_mapped().octets()),
                IpAddr::V6(address) => (16, address.octets()),
            };
            out.push(length);
            out.extend(bytes);
            out.extend(port.to_le_bytes());
        }
        Change::Released(key) => {
            out.push(RELEASED | family);
            put_key(key, out);
        }
    }
}

fn get_change<A: Words>(kind: u8, input: &mut Input<'_>) -> Result<Change<A>, Refusal> {
    let key = get_key(input)?;
    Ok(match kind {
        FLOW => Change::Flow(get_flow(key, input)?),
        GONE => Change::Gone(key, get_key(input)?),
        KEPT => {
            let [length] = input.array()?;
            let address = Ipv6Addr::from(input.array::<16>()?);
            let backend = match (length, address.to_ipv4_mapped()) {
                (4, Some(address)) => IpAddr::V4(Ipv4Addr::from(address.octets())),
                (16, _) => IpAddr::V6(address),
                _ => return Err(Refusal::Nonsense),
            };
            Change::Kept(key, backend, half(input)?)
        }
        RELEASED => Change::Released(key),
        _ => return Err(Refusal::Nonsense),
    })
}

fn put_flow<A: Words>(flow: &Flow<A>, out: &mut Vec<u8>) {
    put_key(&flow.key, out);
    flow.source.put(out);
    flow.destination.put(out);
    flow.ports.put(out);
    flow.states[0].put(out);
    out.push(flow.states[1] as u8);
    put_way(&flow.way, out);
}

fn get_flow<A: Words>(key: FlowKey<A>, input: &mut Input<'_>) -> Result<Flow<A>, Refusal> {
    Ok(Flow {
        key,
        source: A::get(input)?,
        destination: A::get(input)?,
        ports: u32::get(input)?,
        states: [u32::get(input)?, u32::from(input.array::<1>()?[0])],
        way: get_way(input)?,
        out: None,
    })
}

/// What a later version adds at the end is of no interest here.
fn get_egress<A: Words>(part: &[u8]) -> Result<Change<A>, Refusal> {
    let mut input = Input(part);
    let key = get_key(&mut input)?;
    let flow = get_flow(key, &mut input)?;
    let out = Some(get_way(&mut input)?);
    Ok(Change::Flow(Flow { out, ..flow }))
}

fn put_way(way: &Way, out: &mut Vec<u8>) {
    way.interface.put(out);
    way.mac
        .iter()
        .for_each(|word| out.extend(word.to_le_bytes()));
    way.tags.iter().for_each(|tag| tag.put(out));
}

fn get_way(input: &mut Input<'_>) -> Result<Way, Refusal> {
    Ok(Way {
        interface: u32::get(input)?,
        mac: [half(input)?, half(input)?, half(input)?],
        tags: [u32::get(input)?, u32::get(input)?],
    })
}

fn put_part(kind: u8, part: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend((part.len() as u16).to_le_bytes());
    out.extend(part);
}

fn get_part(input: &mut Input<'_>) -> Result<Vec<u8>, Refusal> {
    let length = usize::from(half(input)?);
    let (part, rest) = input.0.split_at_checked(length).ok_or(Refusal::Length)?;
    input.0 = rest;
    Ok(part.to_vec())
}

fn put_key<A: Words>(key: &FlowKey<A>, out: &mut Vec<u8>) {
    key.source.put(out);
    key.destination.put(out);
    key.ports.put(out);
    out.push(key.protocol as u8);
}

fn get_key<A: Words>(input: &mut Input<'_>) -> Result<FlowKey<A>, Refusal> {
    Ok(FlowKey {
        source: A::get(input)?,
        destination: A::get(input)?,
        ports: u32::get(input)?,
        protocol: u32::from(input.array::<1>()?[0]),
    })
}

fn half(input: &mut Input<'_>) -> Result<u16, Refusal> {
    input.array().map(u16::from_le_bytes)
}
