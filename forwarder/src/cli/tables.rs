//! Tables of what a status has.

use super::table::{Table, short};
use crate::admin::api::{Backend, Count, Interface, Pool, VirtualServer};

pub fn interfaces<'a>(interfaces: impl IntoIterator<Item = &'a Interface>) -> Table {
    let mut table = Table::new(
        &["NAME", "DEVICE", "DRIVER", "XDP", "MAC", "MTU", "ADDRESSES"],
        &[5],
    );
    for interface in interfaces {
        let mode = interface.mode.as_deref().unwrap_or("not attached");
        let addresses = interface.addresses.iter().map(ToString::to_string);
        let addresses: Vec<_> = addresses.collect();
        table.row([
            interface.name.clone(),
            interface.device.clone(),
            interface.driver.clone(),
            if interface.frags {
                format!("{mode}, frags")
            } else {
                mode.to_owned()
            },
            interface.mac.clone(),
            interface.mtu.to_string(),
            addresses.join(" "),
        ]);
    }
    table
}

/// Virtual servers; with their pools, so that it is seen which can be served.
pub fn virtual_servers<'a>(
    servers: impl IntoIterator<Item = &'a VirtualServer>,
    pools: &[Pool],
) -> Table {
    let mut table = Table::new(
        &[
            "NAME", "VIP", "MODE", "POOL", "BACKENDS", "IN", "BYTES", "OUT", "BYTES",
        ],
        &[5, 6, 7, 8],
    );
    for server in servers {
        let [r#in, in_bytes] = count(server.r#in);
        let [out, out_bytes] = count(server.out);
        let pool = pools
            .iter()
            .find(|pool| Some(&pool.name) == server.pool.as_ref());
        table.row([
            server.name.clone(),
            vip(server),
            server.mode.clone(),
            server.pool.clone().unwrap_or_else(|| "-".into()),
            pool.map_or_else(|| "-".into(), usable_of_all),
            r#in,
            in_bytes,
            out,
            out_bytes,
        ]);
    }
    table
}

/// Protocol, address and port of a virtual server.
pub fn vip(server: &VirtualServer) -> String {
    if server.address.is_ipv6() {
        format!("{} [{}]:{}", server.protocol, server.address, server.port)
    } else {
        format!("{} {}:{}", server.protocol, server.address, server.port)
    }
}

/// Whether a backend gets new flows.
pub fn is_usable(backend: &Backend) -> bool {
    backend.state == "enabled" && backend.health != "down" && backend.weight > 0
}

fn usable_of_all(pool: &Pool) -> String {
    let usable = pool.backends.iter().filter(|backend| is_usable(backend));
    format!("{} of {}", usable.count(), pool.backends.len())
}

pub fn pools<'a>(pools: impl IntoIterator<Item = &'a Pool>, servers: &[VirtualServer]) -> Table {
    let mut table = Table::new(&["POOL", "USABLE", "VIRTUAL SERVERS"], &[]);
    for pool in pools {
        let used = servers
            .iter()
            .filter(|server| server.pool.as_ref() == Some(&pool.name));
        let names: Vec<&str> = used.map(|server| server.name.as_str()).collect();
        table.row([pool.name.clone(), usable_of_all(pool), names.join(" ")]);
    }
    table
}

pub fn backends<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> Table {
    let mut table = Table::new(
        &[
            "POOL", "BACKEND", "WEIGHT", "STATE", "HEALTH", "BY", "IN", "BYTES", "OUT", "BYTES",
            "NOTE",
        ],
        &[2, 6, 7, 8, 9],
    );
    for pool in pools {
        for backend in &pool.backends {
            let [r#in, in_bytes] = count(backend.r#in);
            let [out, out_bytes] = count(backend.out);
            table.row([
                pool.name.clone(),
                backend.name.clone(),
                backend.weight.to_string(),
                backend.state.clone(),
                health(backend),
                match &backend.next_hop {
                    Some(hop) => hop.device.clone(),
                    None => "not resolved".into(),
                },
                r#in,
                in_bytes,
                out,
                out_bytes,
                note(backend),
            ]);
        }
    }
    table
}

/// How the backends of one pool are reached.
pub fn ways(pool: &Pool) -> Table {
    let mut table = Table::new(&["BACKEND", "ADDRESS", "PORT", "NEXT HOP"], &[]);
    for backend in &pool.backends {
        let port = backend.port.map(|port| port.to_string());
        table.row([
            backend.name.clone(),
            backend.address.to_string(),
            port.unwrap_or_else(|| "the packet's".into()),
            match &backend.next_hop {
                Some(hop) => format!("{} {}", hop.device, hop.mac),
                None => "not resolved".into(),
            },
        ]);
    }
    table
}

/// Up or down, and since when.
fn health(backend: &Backend) -> String {
    match &backend.health_check {
        Some(check) => format!("{} {}", backend.health, duration(check.since_seconds)),
        None => backend.health.clone(),
    }
}

/// A time in two units at most.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Why it is down, what else there is to say of its health, and what the file says where that is
/// something else.
fn note(backend: &Backend) -> String {
    let mut notes: Vec<String> = backend.health_error.clone().into_iter().collect();
    if let Some(check) = &backend.health_check {
        if check.share_percent < 100 {
            notes.push(format!("slow start {} %", check.share_percent));
        }
        if let Some(held) = check.held_seconds {
            notes.push(format!("held {} more", duration(held)));
        }
    }
    let overrides = backend.overrides.iter();
    let files = overrides.map(|(key, value)| format!("{key} in the file: {value}"));
    notes.extend(files);
    notes.join("; ")
}

pub fn reasons<'a>(interfaces: impl IntoIterator<Item = &'a Interface>) -> Table {
    let mut table = Table::new(&["INTERFACE", "REASON", "PACKETS", "BYTES"], &[2, 3]);
    for interface in interfaces {
        for reason in &interface.reasons {
            let [packets, bytes] = count(reason.count);
            table.row([
                interface.name.clone(),
                reason.reason.clone(),
                packets,
                bytes,
            ]);
        }
    }
    table
}

fn count(count: Count) -> [String; 2] {
    [short(count.packets), short(count.bytes)]
}
