//! Parts of the status, each by a command of its own: `vip`, `pool`, `interface`, `drops`, `snat`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use forwarder_common::{Outcome, Reason};
use serde::Serialize;

use super::table::{Look, Table, short};
use super::{Output, SocketArgument, emit, tables};
use crate::admin::api::{Interface, Pool, VirtualServer};
use crate::admin::client;

/// Arguments of a view.
#[derive(Debug, clap::Args)]
pub struct ViewArguments {
    /// Only the one of this name [default: all]
    pub name: Option<String>,
    #[command(flatten)]
    pub socket: SocketArgument,
    /// How to print: for people or for programs
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

pub async fn vip(arguments: &ViewArguments) -> Result<ExitCode> {
    let status = client::status(&arguments.socket.socket).await?;
    let names = status.virtual_servers.iter();
    let names: Vec<String> = names.map(|server| server.name.clone()).collect();
    let by_name = |name: &String, server: &VirtualServer| {
        server.name == *name || server.address.to_string() == *name
    };
    let servers = pick(
        arguments,
        "virtual server",
        status.virtual_servers,
        &names,
        by_name,
    )?;
    emit(arguments.output, &servers, || {
        let look = Look::of_output();
        let mut text = tables::virtual_servers(&servers, &status.pools).render(look);
        if arguments.name.is_some() {
            let used = |pool: &&Pool| {
                let mut pools = servers.iter().filter_map(|server| server.pool.as_ref());
                pools.any(|name| *name == pool.name)
            };
            let pools = status.pools.iter().filter(used);
            text += &format!("\n{}", tables::backends(pools).render(look));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

pub async fn pool(arguments: &ViewArguments) -> Result<ExitCode> {
    let status = client::status(&arguments.socket.socket).await?;
    let names: Vec<String> = status.pools.iter().map(|pool| pool.name.clone()).collect();
    let by_name = |name: &String, pool: &Pool| pool.name == *name;
    let pools = pick(arguments, "pool", status.pools, &names, by_name)?;
    emit(arguments.output, &pools, || {
        let look = Look::of_output();
        let mut text = tables::pools(&pools, &status.virtual_servers).render(look);
        text += &format!("\n{}", tables::backends(&pools).render(look));
        if let (Some(_), [pool]) = (&arguments.name, pools.as_slice()) {
            text += &format!("\n{}", tables::ways(pool).render(look));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

pub async fn interface(arguments: &ViewArguments) -> Result<ExitCode> {
    let interfaces = interfaces(arguments).await?;
    emit(arguments.output, &interfaces, || {
        let look = Look::of_output();
        let mut table = Table::new(
            &["NAME", "PASSED", "FORWARDED", "ANSWERED", "DROPPED"],
            &[1, 2, 3, 4],
        );
        for interface in &interfaces {
            let outcomes = [
                Outcome::Pass,
                Outcome::Forward,
                Outcome::Answer,
                Outcome::Drop,
            ];
            let [pass, forward, answer, drop] = outcomes.map(|outcome| {
                let of = Reason::ALL
                    .iter()
                    .filter(|reason| reason.outcome() == outcome);
                let names: Vec<&str> = of.map(|reason| reason.name()).collect();
                let counted = interface.reasons.iter();
                let counted = counted.filter(|each| names.contains(&each.reason.as_str()));
                short(counted.map(|each| each.count.packets).sum())
            });
            table.row([interface.name.clone(), pass, forward, answer, drop]);
        }
        let mut text = tables::interfaces(&interfaces).render(look);
        text += &format!("\nPackets that came in\n{}", table.render(look));
        if arguments.name.is_some() {
            text += &format!("\n{}", tables::reasons(&interfaces).render(look));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What was dropped.
#[derive(Debug, Serialize)]
struct Drops {
    interface: String,
    reason: &'static str,
    packets: u64,
    bytes: u64,
    meaning: &'static str,
    /// The last packet of this reason, where it came in by this interface.
    last: Option<Last>,
}

#[derive(Debug, Serialize)]
struct Last {
    seconds_ago: u64,
    packet: String,
}

pub async fn drops(arguments: &ViewArguments) -> Result<ExitCode> {
    let mut drops = Vec::new();
    let last = client::drops(&arguments.socket.socket).await?.drops;
    for interface in interfaces(arguments).await? {
        for counted in interface.reasons {
            let reason = Reason::ALL
                .iter()
                .find(|each| each.name() == counted.reason);
            if let Some(reason) = reason.filter(|each| each.outcome() == Outcome::Drop) {
                drops.push(Drops {
                    interface: interface.name.clone(),
                    reason: reason.name(),
                    packets: counted.count.packets,
                    bytes: counted.count.bytes,
                    meaning: reason.meaning(),
                    last: last
                        .iter()
                        .find(|last| {
                            last.reason == reason.name()
                                && last.interface.as_ref() == Some(&interface.name)
                        })
                        .map(|last| Last {
                            seconds_ago: last.seconds_ago,
                            packet: last.packet.clone(),
                        }),
                });
            }
        }
    }
    drops.sort_by_key(|each| std::cmp::Reverse(each.packets));
    emit(arguments.output, &drops, || {
        let mut table = Table::new(
            &["INTERFACE", "REASON", "PACKETS", "BYTES", "LAST", "MEANING"],
            &[2, 3, 4],
        );
        for each in &drops {
            table.row([
                each.interface.clone(),
                each.reason.to_owned(),
                short(each.packets),
                short(each.bytes),
                each.last.as_ref().map_or_else(String::new, |last| {
                    format!("{} ago", tables::duration(last.seconds_ago))
                }),
                each.meaning.to_owned(),
            ]);
        }
        match drops.first() {
            None => "no packet was dropped".to_owned(),
            Some(most) => format!(
                "{}\nwhat to do: forwarder explain {}, forwarder trace --last-drop --reason {}",
                table.render(Look::of_output()),
                most.reason,
                most.reason
            ),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

pub async fn snat(arguments: &ViewArguments) -> Result<ExitCode> {
    let mut snat = client::snat(&arguments.socket.socket).await?;
    let names: Vec<String> = snat.pools.iter().map(|pool| pool.name.clone()).collect();
    snat.pools = pick(arguments, "SNAT pool", snat.pools, &names, |name, pool| {
        pool.name == *name
    })?;
    emit(arguments.output, &snat, || {
        let mut table = Table::new(
            &[
                "POOL",
                "FAMILY",
                "PORTS",
                "EACH",
                "TCP IN USE",
                "UDP IN USE",
                "DROPPED",
                "ADDRESSES",
            ],
            &[3, 4, 5, 6],
        );
        for pool in &snat.pools {
            let addresses: Vec<_> = pool.addresses.iter().map(ToString::to_string).collect();
            table.row([
                pool.name.clone(),
                pool.family.clone(),
                format!("{}-{}", pool.port_low, pool.port_high),
                pool.ports.to_string(),
                pool.tcp_in_use.to_string(),
                pool.udp_in_use.to_string(),
                short(pool.exhausted.packets),
                addresses.join(" "),
            ]);
        }
        let table = table.render(Look::of_output());
        let exhausted = short(snat.exhausted.packets);
        let none = if table.is_empty() { "no SNAT\n" } else { "" };
        format!("{none}{table}\npackets dropped because no port was free: {exhausted}")
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn interfaces(arguments: &ViewArguments) -> Result<Vec<Interface>> {
    let status = client::status(&arguments.socket.socket).await?;
    let names = status.interfaces.iter();
    let names: Vec<String> = names.map(|each| each.name.clone()).collect();
    pick(
        arguments,
        "interface",
        status.interfaces,
        &names,
        |name, each| each.name == *name || each.device == *name,
    )
}

/// All, or those of the name that is asked for.
fn pick<T>(
    arguments: &ViewArguments,
    what: &str,
    mut list: Vec<T>,
    names: &[String],
    is: impl Fn(&String, &T) -> bool,
) -> Result<Vec<T>> {
    let Some(name) = &arguments.name else {
        return Ok(list);
    };
    list.retain(|each| is(name, each));
    if list.is_empty() {
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        bail!("there is no {what} {name}; there are: {names}");
    }
    Ok(list)
}
