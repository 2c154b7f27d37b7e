//! Cloud Failover: which VIPs each node has of its own, and what moves.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::emit::{Section, addresses as addresses_of, list};
use super::object::Object;
use super::{ImportError, LeftOut, step};
use crate::config::Prefix;

/// Pairs of VIPs: the first node's and the second's, of one public address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloatingVips {
    pairs: Vec<Floating>,
    routes: Vec<Route>,
    /// VIPs that move themselves, between network interfaces of one subnet.
    moving: Vec<IpAddr>,
    /// Whether the cloud is one whose API this product calls.
    known: bool,
}

/// Routes of a table that lead to the active node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    table: Table,
    destinations: Vec<String>,
}

/// Which tables.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Table {
    /// The one with this id.
    Id(String),
    /// Those with this tag: key=value.
    Tag(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Floating {
    public: String,
    vips: [IpAddr; 2],
}

impl FloatingVips {
    /// Both nodes' VIPs, where one of them is `vip`.
    pub fn of(&self, vip: IpAddr) -> Option<[IpAddr; 2]> {
        let mut vips = self.pairs.iter().map(|pair| pair.vips);
        vips.find(|vips| vips.contains(&vip))
    }
}

/// Reads a declaration.
pub fn read(document: &Value) -> Result<(FloatingVips, Vec<LeftOut>), ImportError> {
    let wrong = ImportError::Class("Cloud Failover declaration", "Cloud_Failover");
    let root = if document["class"] == "Cloud_Failover" {
        (document, String::new())
    } else if document["declaration"]["class"] == "Cloud_Failover" {
        // As the device answers when it is asked for its declaration.
        (&document["declaration"], "/declaration".to_owned())
    } else {
        return Err(wrong);
    };
    let mut object = Object::new(root.0, root.1).ok_or(wrong)?;
    let mut out = Vec::new();
    let mut floating = FloatingVips {
        known: object.take("environment").and_then(Value::as_str) == Some("aws"),
        ..FloatingVips::default()
    };
    addresses(&mut object, &mut floating, &mut out);
    routes(&mut object, &mut floating, &mut out);
    object.finish(&mut out);
    Ok((floating, out))
}

const NO_MOVE: &str =
    "the API of this cloud is not called: what moves there, something else has to move";
const NO_SCOPE: &str = "what has these tags is not known here: each thing that moves is named in [cloud], by id, address or a tag of its own";

/// A part of the declaration; `None`: it is not there, or switched off.
fn section<'a>(object: &mut Object<'a>, key: &str, out: &mut Vec<LeftOut>) -> Option<Object<'a>> {
    let pointer = object.at(key);
    let Some(mut section) = Object::new(object.take(key)?, pointer) else {
        object.leave(key, "it is not the kind of value that belongs there", out);
        return None;
    };
    if section.take("enabled") == Some(&Value::Bool(false)) {
        section.leave("enabled", "it is switched off", out);
        return None;
    }
    Some(section)
}

fn addresses(object: &mut Object<'_>, floating: &mut FloatingVips, out: &mut Vec<LeftOut>) {
    let Some(mut section) = section(object, "failoverAddresses", out) else {
        return;
    };
    if section.take("scopingTags").is_some() {
        section.leave("scopingTags", scope(floating), out);
    }
    for (index, group) in section.list("addressGroupDefinitions").iter().enumerate() {
        let at = step(&section.at("addressGroupDefinitions"), &index.to_string());
        let public = group["scopingAddress"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let vips: Vec<Option<IpAddr>> = group["vipAddresses"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|vip| vip.as_str()?.split('/').next()?.parse().ok())
            .collect();
        if group["type"] == "networkInterfaceAddress" && group["vipAddresses"].is_null() {
            let address = public.split('/').next().unwrap_or_default().parse().ok();
            match (floating.known, address) {
                (true, Some(address)) if !floating.moving.contains(&address) => {
                    floating.moving.push(address);
                }
                (true, _) => out.push(LeftOut {
                    pointer: at,
                    why: "it names no address that is new".to_owned(),
                }),
                (false, _) => out.push(LeftOut {
                    pointer: at,
                    why: NO_MOVE.to_owned(),
                }),
            }
            continue;
        }
        match vips.as_slice() {
            [Some(first), Some(second)] if first.is_ipv4() == second.is_ipv4() => {
                let moves = floating.known && public.parse::<Ipv4Addr>().is_ok();
                floating.pairs.push(Floating {
                    public,
                    vips: [*first, *second],
                });
                if !moves {
                    out.push(LeftOut {
                        pointer: match group.get("scopingAddress") {
                            Some(_) => step(&at, "scopingAddress"),
                            None => at,
                        },
                        why: match floating.known {
                            true => {
                                "what moves is named by its public IPv4 address, and here is none"
                            }
                            false => NO_MOVE,
                        }
                        .into(),
                    });
                }
            }
            _ => out.push(LeftOut {
                pointer: at,
                why: "it does not name one VIP of each node".to_owned(),
            }),
        }
    }
    section.finish(out);
}

/// Why what is found by tags is left out.
fn scope(floating: &FloatingVips) -> &'static str {
    match floating.known {
        true => NO_SCOPE,
        false => NO_MOVE,
    }
}

fn routes(object: &mut Object<'_>, floating: &mut FloatingVips, out: &mut Vec<LeftOut>) {
    let Some(mut section) = section(object, "failoverRoutes", out) else {
        return;
    };
    // Older declarations say it once, for all tables with the tag.
    let tags = section.take("scopingTags");
    let ranges = section.take("scopingAddressRanges");
    match tags.and_then(by_tag).zip(ranges.and_then(destinations)) {
        Some((table, destinations)) if floating.known => {
            floating.routes.push(Route {
                table,
                destinations,
            });
        }
        _ => {
            for (key, given) in [("scopingTags", tags), ("scopingAddressRanges", ranges)] {
                if given.is_some() {
                    section.leave(key, scope(floating), out);
                }
            }
        }
    }
    // Routes lead to the interface that is named.
    if section.take("defaultNextHopAddresses").is_some() && !floating.known {
        section.leave("defaultNextHopAddresses", NO_MOVE, out);
    }
    for (index, group) in section.list("routeGroupDefinitions").iter().enumerate() {
        let table = group["scopingName"].as_str().unwrap_or("its tables");
        if let Some(route) = route(group).filter(|_| floating.known) {
            floating.routes.push(route);
            continue;
        }
        out.push(LeftOut {
            pointer: step(&section.at("routeGroupDefinitions"), &index.to_string()),
            why: format!("routes of {table}: {}", scope(floating)),
        });
    }
    section.finish(out);
}

/// Routes of one table by its id, or of all with a tag.
fn route(group: &Value) -> Option<Route> {
    let id = group["scopingName"].as_str().and_then(by_id);
    Some(Route {
        table: id.or_else(|| by_tag(&group["scopingTags"]))?,
        destinations: destinations(&group["scopingAddressRanges"])?,
    })
}

fn by_id(table: &str) -> Option<Table> {
    let id = table.strip_prefix("rtb-")?;
    let good =
        !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| Table::Id(table.to_owned()))
}

/// One tag: of several, tables would have to have all.
fn by_tag(tags: &Value) -> Option<Table> {
    let tags = tags.as_object().filter(|tags| tags.len() == 1)?;
    let (key, value) = tags.iter().next()?;
    let value = value.as_str()?;
    let good = !key.is_empty() && !key.contains('=') && key.len() <= 128 && value.len() <= 256;
    good.then(|| Table::Tag(format!("{key}={value}")))
}

/// Prefixes, each as a text or in an object.
fn destinations(ranges: &Value) -> Option<Vec<String>> {
    let ranges = ranges.as_array()?.iter();
    let destinations: Option<Vec<String>> = ranges
        .map(|range| {
            let range = range.as_str().or_else(|| range["range"].as_str())?;
            let (address, length) = range.split_once('/')?;
            let prefix = Prefix::of(address.parse().ok()?, length.parse().ok()?)?;
            (prefix.to_string() == range).then(|| range.to_owned())
        })
        .collect();
    destinations.filter(|all| !all.is_empty())
}

/// What moves by calls of the cloud's API. What moves to a VIP that no virtual server has is a comment.
pub fn cloud(floating: &FloatingVips, servers: &[String]) -> String {
    let has = |vip: IpAddr| {
        let text = format!("\"{vip}\"");
        servers.iter().any(|server| server.contains(&text))
    };
    let mut sections = String::new();
    for pair in floating.pairs.iter().filter(|_| floating.known) {
        if pair.public.parse::<Ipv4Addr>().is_err() || pair.vips.iter().any(IpAddr::is_ipv6) {
            continue;
        }
        let mut section = Section::new("[[cloud.elastic_ip]]");
        section.text("public", &pair.public);
        section.text("interface", "outside");
        section.key("private", addresses_of(&pair.vips));
        let text = section.end();
        match has(pair.vips[0]) {
            true => sections.push_str(&text),
            false => sections.push_str(&later(&text)),
        }
    }
    let (served, others): (Vec<IpAddr>, Vec<IpAddr>) =
        floating.moving.iter().partition(|address| has(**address));
    if !served.is_empty() {
        sections.push_str(&moving(&served));
    }
    if !others.is_empty() {
        sections.push_str(&later(&moving(&others)));
    }
    for route in &floating.routes {
        let mut section = Section::new("[[cloud.route]]");
        match &route.table {
            Table::Id(id) => section.text("table", id),
            Table::Tag(tag) => section.text("tag", tag),
        };
        let destinations = route.destinations.iter().map(String::as_str);
        section.key("destination", list(destinations));
        section.text("interface", "outside");
        sections.push_str(&section.end());
    }
    match sections.is_empty() {
        true => sections,
        false => format!(
            "\n# Each on the interface that has its private addresses, or that routes lead to.\n[cloud]\n{sections}"
        ),
    }
}

/// Addresses that move between network interfaces of one subnet, in one call.
fn moving(addresses: &[IpAddr]) -> String {
    let mut section = Section::new("[[cloud.address]]");
    section.text("interface", "outside");
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    section.key("private", list(texts.iter().map(String::as_str)));
    section.end()
}

/// A section as a comment: nothing of the file has its addresses.
fn later(section: &str) -> String {
    let lines = section.lines().map(|line| match line {
        "" => "\n# With a virtual server of these addresses:\n".to_owned(),
        line => format!("# {line}\n"),
    });
    lines.collect()
}

/// The top of the file that is written, and its nodes, where there are two.
pub fn head(file: &str, floating: Option<&FloatingVips>) -> String {
    let mut text = format!(
        "# From {}. Edit the interface, and add others: a declaration does not say what they are called here.\nversion = 1\n",
        file.replace(|c: char| c.is_control(), "?")
    );
    if let Some(floating) = floating {
        text.push_str("# A secret of your own: openssl rand -hex 16\nhash_key = \"00000000000000000000000000000000\"\n");
        for pair in &floating.pairs {
            let [first, second] = pair.vips;
            let public = match pair.public.as_str() {
                "" => "A public address",
                public => public,
            };
            text.push_str(&format!(
                "# {public} is for {first} on lb1 and {second} on lb2.\n"
            ));
        }
        for node in ["lb1", "lb2"] {
            text.push_str(&format!("\n[[node]]\nname = \"{node}\"\n"));
        }
    }
    text + "\n[[interface]]\nname = \"outside\"\ndevice = \"eth0\"\n"
}

/// A file of the nodes alone.
pub fn config(file: &str, floating: &FloatingVips) -> String {
    head(file, Some(floating)) + &cloud(floating, &[])
}
