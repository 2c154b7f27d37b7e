//! Services become virtual servers.

use std::net::IpAddr;

use serde_json::Value;

use super::as3::Writer;
use super::emit::{Section, addresses, list, name};
use super::object::Object;
use super::pool::Pool;
use super::reference::{Place, Reference};
use super::{FloatingVips, step};
use crate::config::Prefix;

/// As many virtual servers as one service's list of ports may become.
const MOST_PORTS: usize = 64;

/// What a service says, beside its addresses and ports.
struct Service<'a> {
    place: &'a Place<'a>,
    pointer: String,
    name: String,
    mode: &'static str,
    /// Pool: value, pointer and path.
    pool: (&'a Value, String, [&'a str; 3]),
    snat: Option<(&'a Value, String, [&'a str; 3])>,
    by_source: bool,
    profile: Profile,
    rate: Option<i64>,
}

/// Writes a service, or says why not.
pub fn write<'a>(
    place: &'a Place<'a>,
    key: &'a str,
    value: &'a Value,
    pointer: String,
    writer: &mut Writer,
    floating: Option<&FloatingVips>,
) {
    let Some(mut object) = Object::new(value, pointer.clone()) else {
        return;
    };
    if object.take("enable") == Some(&Value::Bool(false)) {
        object.leave(
            "enable",
            "the service is switched off: it is not carried over",
            &mut writer.left_out,
        );
        return;
    }
    let protocols: &[&'static str] = match (value["class"].as_str(), object.text("layer4")) {
        (Some("Service_TCP"), _) | (Some("Service_L4"), None | Some("tcp")) => &["tcp"],
        (Some("Service_UDP"), _) | (_, Some("udp")) => &["udp"],
        (_, Some("any")) => {
            object.leave(
                "layer4",
                "of all protocols TCP and UDP are carried over",
                &mut writer.left_out,
            );
            &["tcp", "udp"]
        }
        (_, other) => {
            let why = format!("there is no protocol {}", other.unwrap_or("unknown"));
            object.leave("layer4", why, &mut writer.left_out);
            return;
        }
    };
    let Some(pool) = pool(&mut object, place, writer) else {
        return;
    };
    let mode = mode(&mut object, writer);
    let snat = snat(&mut object, place, writer);
    let plain = ["service", "serviceMain"].contains(&key);
    let mode = match mode {
        "full-nat" if snat.is_none() => "dnat",
        mode => mode,
    };
    let path: &[&str] = if plain {
        &[place.tenant, place.application]
    } else {
        &[place.tenant, place.application, key]
    };
    let service = Service {
        place,
        pointer,
        name: name(path),
        mode,
        pool,
        snat: snat.flatten(),
        by_source: by_source(&mut object, place, writer),
        profile: profile(&mut object, place, mode, writer),
        rate: object.number("rateLimit").filter(|rate| *rate > 0),
    };
    let ports = ports(&mut object, place, writer);
    let vips = vips(&mut object, place, writer, floating);
    object.finish(&mut writer.left_out);
    for (vips, sources) in &vips {
        for port in &ports {
            for protocol in protocols {
                service.one(vips, sources, *port, protocol, writer);
            }
        }
    }
}

fn pool<'a>(
    object: &mut Object<'a>,
    place: &Place<'a>,
    writer: &mut Writer,
) -> Option<(&'a Value, String, [&'a str; 3])> {
    let Some(value) = object.take("pool") else {
        writer.leave(
            &object.pointer,
            "it has no pool, so there is nowhere to forward to",
        );
        return None;
    };
    match place.resolve(value) {
        Some(Reference::Here {
            value,
            pointer,
            name,
        }) => {
            writer.used.insert(pointer.clone());
            Some((value, pointer, name))
        }
        _ => {
            object.leave(
                "pool",
                "it is not in the declaration, so the service is not carried over",
                &mut writer.left_out,
            );
            None
        }
    }
}

/// nPath leaves the destination as it is, and the backend answers the client itself.
fn mode(object: &mut Object<'_>, writer: &mut Writer) -> &'static str {
    let address = object.take("translateServerAddress") != Some(&Value::Bool(false));
    let port = object.take("translateServerPort") != Some(&Value::Bool(false));
    if address && !port {
        object.leave(
            "translateServerPort",
            "with the address, the port is translated where the backend has one",
            &mut writer.left_out,
        );
    }
    if address { "full-nat" } else { "l2-dsr" }
}

/// `None`: none. `Some(None)`: automap.
type Snat<'a> = Option<Option<(&'a Value, String, [&'a str; 3])>>;

fn snat<'a>(object: &mut Object<'a>, place: &Place<'a>, writer: &mut Writer) -> Snat<'a> {
    let Some(value) = object.take("snat") else {
        return Some(None);
    };
    match place.resolve(value) {
        Some(Reference::Word("none")) => None,
        Some(Reference::Here {
            value,
            pointer,
            name,
        }) if value["class"] == "SNAT_Pool" => {
            writer.used.insert(pointer.clone());
            Some(Some((value, pointer, name)))
        }
        Some(Reference::Word("auto")) => Some(None),
        _ => {
            object.leave(
                "snat",
                "it is not in the declaration: automap is taken in its place",
                &mut writer.left_out,
            );
            Some(None)
        }
    }
}

/// Persistence by source address is these services' default.
fn by_source(object: &mut Object<'_>, place: &Place<'_>, writer: &mut Writer) -> bool {
    let Some(methods) = object.take("persistenceMethods") else {
        return true;
    };
    let mut by_source = false;
    for (index, method) in methods.as_array().into_iter().flatten().enumerate() {
        let pointer = step(&object.at("persistenceMethods"), &index.to_string());
        let known = match place.resolve(method) {
            Some(Reference::Word("source-address") | Reference::Device("/Common/source_addr")) => {
                true
            }
            Some(Reference::Here { value, pointer, .. }) => {
                writer.used.insert(pointer.clone());
                let mut persist = Object::new(value, pointer);
                let method = persist
                    .as_mut()
                    .and_then(|persist| persist.text("persistenceMethod"));
                if method == Some("source-address") {
                    persist
                        .into_iter()
                        .for_each(|persist| persist.finish(&mut writer.left_out));
                }
                method == Some("source-address")
            }
            _ => false,
        };
        if !known {
            writer.leave(&pointer, "only a client's address can decide where it goes");
        }
        by_source |= known;
    }
    by_source
}

/// What a service's profile says of its flows.
#[derive(Default)]
struct Profile {
    mss: Option<i64>,
    /// How long they may be quiet, in seconds.
    idle: Option<i64>,
    /// Whether both ends are told when they are forgotten.
    reset: bool,
}

fn profile(object: &mut Object<'_>, place: &Place<'_>, mode: &str, writer: &mut Writer) -> Profile {
    let mut found = Profile::default();
    for (key, class) in [("profileL4", "L4_Profile"), ("profileUDP", "UDP_Profile")] {
        match object.take(key).and_then(|value| place.resolve(value)) {
            Some(Reference::Word("basic" | "normal")) => {}
            Some(Reference::Here { value, pointer, .. }) if value["class"] == class => {
                writer.used.insert(pointer.clone());
                if let Some(profile) = Object::new(value, pointer) {
                    found = read_profile(profile, mode, writer);
                }
            }
            Some(_) => object.leave(
                key,
                "it is not in the declaration: what it says is not known here",
                &mut writer.left_out,
            ),
            None => {}
        }
    }
    found
}

fn read_profile(mut profile: Object<'_>, mode: &str, writer: &mut Writer) -> Profile {
    let mss = profile.number("maxSegmentSize");
    let idle = profile.number("idleTimeout");
    let reset = profile.take("resetOnTimeout") == Some(&Value::Bool(true));
    let remembers = mode != "l2-dsr";
    if !remembers {
        let flows = "without translation no flows are remembered";
        for (key, given, why) in [
            ("idleTimeout", idle.is_some(), flows),
            ("resetOnTimeout", reset, flows),
            (
                "maxSegmentSize",
                mss.is_some_and(|mss| mss > 0),
                "without translation the packet stays as it is",
            ),
        ] {
            if given {
                profile.leave(key, why, &mut writer.left_out);
            }
        }
    }
    let good = |idle: &i64| (1..=86_400).contains(idle);
    if remembers && idle.is_some_and(|idle| !good(&idle)) {
        let why = "flows are forgotten after 1 to 86400 seconds";
        profile.leave("idleTimeout", why, &mut writer.left_out);
    }
    profile.finish(&mut writer.left_out);
    Profile {
        mss: mss.filter(|mss| (536..=65495).contains(mss) && remembers),
        idle: idle.filter(good).filter(|_| remembers),
        reset: reset && remembers,
    }
}

/// 0 is any.
fn ports(object: &mut Object<'_>, place: &Place<'_>, writer: &mut Writer) -> Vec<u16> {
    let at = object.at("virtualPort");
    let Some(value) = object.take("virtualPort") else {
        return vec![0];
    };
    let one = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.and_then(|number| u16::try_from(number).ok())
    };
    if let Some(port) = one(value) {
        return vec![port];
    }
    let mut ports = Vec::new();
    if let Some(Reference::Here { value, pointer, .. }) = place.resolve(value) {
        writer.used.insert(pointer);
        for item in value["ports"].as_array().into_iter().flatten() {
            let range = item.as_str().and_then(|text| text.split_once('-'));
            match range.and_then(|(low, high)| {
                Some(low.trim().parse::<u16>().ok()?..=high.trim().parse().ok()?)
            }) {
                Some(range) => ports.extend(range),
                None => ports.extend(one(item)),
            }
        }
    }
    if ports.is_empty() || ports.len() > MOST_PORTS {
        let why = format!(
            "it is no port, and no list of at most {MOST_PORTS}: the service is not carried over"
        );
        writer.leave(&at, why);
        return Vec::new();
    }
    ports
}

type Vips = Vec<(Vec<IpAddr>, Vec<String>)>;

/// VIPs, each with the sources that it is for; none: for all.
fn vips(
    object: &mut Object<'_>,
    place: &Place<'_>,
    writer: &mut Writer,
    floating: Option<&FloatingVips>,
) -> Vips {
    let mut vips: Vips = Vec::new();
    let all = object.list("virtualAddresses");
    if all.is_empty() {
        writer.leave(&object.pointer, "it has no address");
    }
    for (index, value) in all.iter().enumerate() {
        let pointer = step(&object.at("virtualAddresses"), &index.to_string());
        let (value, source) = match value.as_array().map(Vec::as_slice) {
            Some([vip, source]) => (vip, Some(source)),
            _ => (value, None),
        };
        let text = match place.resolve(value) {
            Some(Reference::Word(text)) => text.to_owned(),
            Some(Reference::Here { value, pointer, .. }) => {
                writer.used.insert(pointer.clone());
                let Some(mut address) = Object::new(value, pointer) else {
                    continue;
                };
                let text = address
                    .text("virtualAddress")
                    .unwrap_or_default()
                    .to_owned();
                address.finish(&mut writer.left_out);
                text
            }
            _ => {
                writer.leave(
                    &pointer,
                    "it is not in the declaration: its address is not known here",
                );
                continue;
            }
        };
        let Some(address) = writer.address(&text, &pointer) else {
            continue;
        };
        if address.is_unspecified() {
            writer.leave(&pointer, "it is every address: a virtual server has one");
            continue;
        }
        let Some(sources) = source.map_or(Some(Vec::new()), |given| sources(given, place, writer))
        else {
            // Without it everybody could come.
            writer.leave(
                &pointer,
                "its source is no prefix, so the VIP is not carried over",
            );
            continue;
        };
        let both = floating.and_then(|floating| floating.of(address));
        let both = both.map_or_else(|| vec![address], <[IpAddr; 2]>::into);
        match vips.iter_mut().find(|(known, _)| *known == both) {
            // Once for these sources, once for those: for both.
            Some((_, known)) if known.is_empty() || sources.is_empty() => known.clear(),
            Some((_, known)) => known.extend(sources),
            None => vips.push((both, sources)),
        }
    }
    vips
}

/// The sources that a value stands for: a prefix, or a list of them that is declared. Empty: all. `None`: not known.
fn sources(value: &Value, place: &Place<'_>, writer: &mut Writer) -> Option<Vec<String>> {
    let texts: Vec<&str> = match place.resolve(value)? {
        Reference::Word(text) => vec![text],
        Reference::Here { value, pointer, .. } if value["class"] == "Net_Address_List" => {
            let addresses = value["addresses"].as_array()?;
            let texts: Option<Vec<&str>> = addresses.iter().map(Value::as_str).collect();
            // Lists in the list are not read, and an empty one is for nobody.
            let nothing_else = value.get("addressLists").is_none();
            let texts = texts.filter(|texts| !texts.is_empty() && nothing_else)?;
            writer.used.insert(pointer);
            texts
        }
        _ => return None,
    };
    let prefixes: Option<Vec<Prefix>> = texts.into_iter().map(prefix).collect();
    let prefixes = prefixes?;
    let all = prefixes.iter().any(|prefix| prefix.length() == 0);
    let kept = prefixes.iter().filter(|_| !all);
    Some(kept.map(ToString::to_string).collect())
}

/// A source as a prefix, without route domain and bits beyond its length.
fn prefix(source: &str) -> Option<Prefix> {
    let (address, length) = source.split_once('/').unwrap_or((source, ""));
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = if length.is_empty() {
        whole
    } else {
        length.parse().ok()?
    };
    Prefix::of(address, length)
}

impl Service<'_> {
    fn one(
        &self,
        vips: &[IpAddr],
        sources: &[String],
        port: u16,
        protocol: &'static str,
        writer: &mut Writer,
    ) {
        let Some(vip) = vips.first() else { return };
        let others: Vec<_> = vips
            .iter()
            .filter_map(|vip| writer.endpoints.get(&(*vip, port, protocol)))
            .cloned()
            .collect();
        if let Some(other) = others.first() {
            let vips: Vec<_> = vips.iter().map(ToString::to_string).collect();
            writer.leave(
                &self.pointer,
                format!(
                    "{other} has {} port {port} {protocol} already",
                    vips.join(" or ")
                ),
            );
            return;
        }
        let Some(pool) = self.pool(vip.is_ipv6(), port, writer) else {
            return;
        };
        let name = writer.unique("virtual_server", &self.name);
        for vip in vips {
            writer
                .endpoints
                .insert((*vip, port, protocol), name.clone());
        }
        let mut section = Section::new("[[virtual_server]]");
        section.text("name", &name).key("address", addresses(vips));
        match port {
            0 => section.text("port", "any"),
            port => section.key("port", port),
        };
        if protocol == "udp" {
            section.text("protocol", protocol);
        }
        section.text("mode", self.mode).text("pool", &pool);
        if self.mode == "full-nat" {
            let snat = self.snat(vip.is_ipv6(), writer);
            section.text("snat", &snat);
        }
        if self.by_source {
            section.text("affinity", "source");
        }
        if !sources.is_empty() {
            section.key("allow", list(sources.iter().map(String::as_str)));
        }
        if let Some(rate) = self.rate {
            section.key("new_flows_per_second", rate.min(100_000_000));
        }
        if let Some(seconds) = self.profile.idle {
            section.text("idle_timeout", &format!("{seconds}s"));
        }
        if self.profile.reset && protocol == "tcp" {
            section.key("idle_reset", true);
        }
        if let Some(mss) = self.profile.mss.filter(|_| protocol == "tcp") {
            section.key("mss_clamp", mss);
        }
        writer.servers.push(section.end());
    }

    /// The pool's name, for this family, mode and port.
    fn pool(&self, ipv6: bool, port: u16, writer: &mut Writer) -> Option<String> {
        let (value, pointer, path) = &self.pool;
        let same_port = self.mode == "l2-dsr";
        // Members without a port of their own are checked at the virtual server's: a pool for each.
        let members = || value["members"].as_array().into_iter().flatten();
        let ports = members().map(|member| member["servicePort"].as_u64().unwrap_or(0));
        let checked = members()
            .chain([*value])
            .any(|each| !each["monitors"].is_null());
        let own = checked && (same_port || ports.into_iter().any(|port| port == 0));
        let own = own.then_some(port);
        let key = (pointer.clone(), ipv6, same_port, own);
        if let Some(known) = writer.pools.get(&key) {
            return known.clone();
        }
        let pool = Pool {
            value,
            pointer: pointer.clone(),
            name: writer.unique("pool", &name(path)),
            ipv6,
            same_port,
            any_port: own == Some(0),
        };
        let text = pool.write(self.place, writer);
        let written = text.map(|text| {
            writer.sections.push(text);
            pool.name
        });
        writer.pools.insert(key, written.clone());
        written
    }

    /// `automap`, or the name of a SNAT pool that has the family.
    fn snat(&self, ipv6: bool, writer: &mut Writer) -> String {
        let Some((value, pointer, path)) = &self.snat else {
            return "automap".into();
        };
        if !writer.snat_pools.contains_key(pointer) {
            let all = value["snatAddresses"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate();
            let mut found = Vec::new();
            for (index, text) in all {
                let at = step(&step(pointer, "snatAddresses"), &index.to_string());
                found.extend(writer.address(text.as_str().unwrap_or_default(), &at));
            }
            let families = found.iter().map(IpAddr::is_ipv6).collect();
            let name = writer.unique("snat_pool", &name(path));
            if !found.is_empty() {
                let mut section = Section::new("[[snat_pool]]");
                let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
                section
                    .text("name", &name)
                    .key("addresses", list(texts.iter().map(String::as_str)));
                writer.sections.push(section.end());
            }
            writer.snat_pools.insert(pointer.clone(), (name, families));
        }
        match writer.snat_pools.get(pointer) {
            Some((name, families)) if families.contains(&ipv6) => name.clone(),
            _ => {
                writer.leave(
                    pointer,
                    "it has no address of the VIP's family: automap is taken in its place",
                );
                "automap".into()
            }
        }
    }
}
