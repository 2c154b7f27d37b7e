//! Looks through the flow maps for whoever asks. Takes a while: for a thread of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use forwarder_common::flow::{SECOND_SHIFT, state};
use forwarder_common::{Flow, FlowKey, V4, V6};

use super::batch::try_for_each_chunk;
use super::expiry::FlowMaps;
use crate::core::key::{Address, partner_key, ports};

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not answered yet.
    HalfOpen,
    /// Open.
    Established,
    /// One side has ended it, or both.
    Closing,
}

impl State {
    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            State::HalfOpen => "half-open",
            State::Established => "established",
            State::Closing => "closing",
        }
    }
}

/// Which flows; what is absent does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// At one of the flow's ends.
    pub address: Option<IpAddr>,
    /// At one of the flow's ends.
    pub port: Option<u16>,
    /// How far it is.
    pub state: Option<State>,
}

/// A flow, from its forward entry.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// IP protocol number.
    pub protocol: u32,
    /// Who began it, and whom it was sent to.
    pub ends: [SocketAddr; 2],
    /// The same after translation.
    pub translated: [SocketAddr; 2],
    /// Backend index.
    pub backend: u32,
    /// Id of the virtual server or egress rule.
    pub id: u32,
    /// How far it is.
    pub state: State,
    /// Since a packet passed, either way.
    pub idle: Duration,
}

/// Calls `each` with the flows of the filter, until it breaks. `now`: of the coarse monotonic clock.
pub fn list(
    maps: &FlowMaps,
    filter: &Filter,
    now: Duration,
    mut each: impl FnMut(Found) -> ControlFlow<()>,
) -> io::Result<()> {
    both(maps, filter, Some(now), &mut each)
}

/// Without a time only as much is found out as the filter takes.
fn both(
    maps: &FlowMaps,
    filter: &Filter,
    now: Option<Duration>,
    each: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> io::Result<()> {
    for established in [true, false] {
        if filter
            .state
            .is_some_and(|state| (state == State::HalfOpen) == established)
        {
            continue;
        }
        let [v4, v6] = if established {
            [&maps.established4, &maps.established6]
        } else {
            [&maps.embryonic4, &maps.embryonic6]
        };
        if walk::<V4>(v4, established, filter, now, each)?.is_break()
            || walk::<V6>(v6, established, filter, now, each)?.is_break()
        {
            break;
        }
    }
    Ok(())
}

/// How many flows there are of the filter.
pub fn count(maps: &FlowMaps, filter: &Filter) -> io::Result<u64> {
    let mut count = 0;
    both(maps, filter, None, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

fn walk<A>(
    fd: &OwnedFd,
    established: bool,
    filter: &Filter,
    now: Option<Duration>,
    each: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>>
where
    A: Address + Default,
    FlowKey<A>: Pod + Default,
    Flow<A>: Pod + Default,
{
    let data = MapData::from_fd(fd.try_clone()?).map_err(io::Error::other)?;
    let map = Map::from_map_data(data).map_err(io::Error::other)?;
    let map: HashMap<_, FlowKey<A>, Flow<A>> = map.try_into().map_err(io::Error::other)?;
    let look_at_reply = now.is_some() || filter.state.is_some();
    let now = now.map_or(0, |now| (now.as_nanos() >> SECOND_SHIFT) as u32);
    try_for_each_chunk(fd.as_fd(), |keys: &[FlowKey<A>], flows: &[Flow<A>]| {
        for (key, flow) in keys.iter().zip(flows) {
            if flow.state & state::REPLY != 0 {
                continue;
            }
            let [[source, destination], [from, to]] = [
                ends(key.source, key.destination, key.ports),
                ends(flow.source, flow.destination, flow.ports),
            ];
            let all = [source, destination, from, to];
            let address = filter
                .address
                .is_none_or(|ip| all.iter().any(|end| end.ip() == ip));
            let port = filter
                .port
                .is_none_or(|port| all.iter().any(|end| end.port() == port));
            if !address || !port {
                continue;
            }
            // The other direction may have been closed, or used, while this one was not.
            let reply = look_at_reply.then(|| map.get(&partner_key(key, flow), 0).ok());
            let reply = reply.flatten();
            let closed = flow.state | reply.map_or(0, |reply| reply.state);
            let found = match established {
                false => State::HalfOpen,
                true if closed & (state::FIN | state::RST) != 0 => State::Closing,
                true => State::Established,
            };
            if filter.state.is_some_and(|state| state != found) {
                continue;
            }
            let idle = |flow: &Flow<A>| now.saturating_sub(flow.last_seen);
            let idle = idle(flow).min(reply.as_ref().map_or(u32::MAX, idle));
            let found = Found {
                protocol: key.protocol,
                ends: [source, destination],
                translated: [from, to],
                backend: flow.backend,
                id: flow.id,
                state: found,
                idle: Duration::from_nanos(u64::from(idle) << SECOND_SHIFT),
            };
            if each(found).is_break() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })
}

fn ends<A: Address>(source: A, destination: A, words: u32) -> [SocketAddr; 2] {
    let [from, to] = ports(words);
    [
        SocketAddr::new(source.ip(), from),
        SocketAddr::new(destination.ip(), to),
    ]
}

#[cfg(test)]
mod tests {
    use forwarder_common::protocol;

    use super::super::batch::tests::hash_map;
    use super::*;

    const SECOND: Duration = Duration::from_nanos(1 << SECOND_SHIFT);

    /// Maps with `flows` flows of IPv4: every fourth half open, every other fourth closed by the backend.
    fn maps(flows: u32) -> FlowMaps {
        let size = (size_of::<FlowKey<V4>>(), size_of::<Flow<V4>>());
        let wide = (size_of::<FlowKey<V6>>(), size_of::<Flow<V6>>());
        let made = [size, wide, size, wide].map(|(key, value)| hash_map(key, value, flows * 2 + 1));
        let map = |fd: &OwnedFd| {
            let data = MapData::from_fd(fd.try_clone().expect("a copy")).expect("a map");
            let map = Map::from_map_data(data).expect("a map");
            HashMap::<_, FlowKey<V4>, Flow<V4>>::try_from(map).expect("a hash map")
        };
        let [mut established, mut embryonic] = [map(&made[0]), map(&made[2])];
        for n in 0..flows {
            let key = FlowKey {
                source: (0x0a00_0000 + n / 60_000).to_be(),
                destination: 0xcb00_7101_u32.to_be(),
                ports: u32::from(80_u16.to_be()) << 16
                    | u32::from((n % 60_000) as u16).to_be() >> 16,
                protocol: u32::from(protocol::TCP),
            };
            let forward = Flow {
                source: key.source,
                destination: 0xc000_020b_u32.to_be(),
                ports: u32::from(8080_u16.to_be()) << 16 | key.ports & 0xffff,
                backend: 1,
                id: 7,
                last_seen: 10,
                ..Flow::default()
            };
            let reply = Flow {
                state: state::REPLY | if n % 4 == 1 { state::FIN } else { 0 },
                last_seen: 12,
                ..Flow::default()
            };
            let map = if n % 4 == 0 {
                &mut embryonic
            } else {
                &mut established
            };
            map.insert(key, forward, 0).expect("room");
            map.insert(partner_key(&key, &forward), reply, 0)
                .expect("room");
        }
        let [a, b, c, d] = made.each_ref().map(std::os::fd::AsFd::as_fd);
        FlowMaps::new(a, b, c, d).expect("maps")
    }

    #[test]
    fn lists_and_counts_by_filter() {
        const FLOWS: u32 = 20_000;
        let maps = maps(FLOWS);
        let now = 15 * SECOND;
        let counted = |filter: Filter| count(&maps, &filter).expect("a count");
        let quarter = u64::from(FLOWS) / 4;
        let all = Filter::default();
        assert_eq!(counted(all), 4 * quarter);
        for (state, expected) in [
            (State::HalfOpen, quarter),
            (State::Closing, quarter),
            (State::Established, 2 * quarter),
        ] {
            let state = Some(state);
            assert_eq!(counted(Filter { state, ..all }), expected, "{state:?}");
        }
        let address = "192.0.2.11".parse().ok();
        assert_eq!(counted(Filter { address, ..all }), 4 * quarter);
        let address = "192.0.2.12".parse().ok();
        assert_eq!(counted(Filter { address, ..all }), 0);
        let port = Some(1_001);
        let mut found = Vec::new();
        list(&maps, &Filter { port, ..all }, now, |each| {
            found.push(each);
            ControlFlow::Continue(())
        })
        .expect("a list");
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        let ends = one.ends.map(|end| end.to_string());
        assert_eq!(ends, ["10.0.0.0:1001", "203.0.113.1:80"]);
        let ends = one.translated.map(|end| end.to_string());
        assert_eq!(ends, ["10.0.0.0:1001", "192.0.2.11:8080"]);
        assert_eq!((one.state, one.backend, one.id), (State::Closing, 1, 7));
        assert_eq!(one.idle, 3 * SECOND, "the reply came last");
        // It ends when it is told to.
        let mut seen = 0;
        list(&maps, &all, now, |_| {
            seen += 1;
            if seen < 10 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .expect("a list");
        assert_eq!(seen, 10);
    }
}
