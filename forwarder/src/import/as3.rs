//! AS3: tenants and their applications.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::emit::{Section, name};
use super::monitor::{self, Keys};
use super::object::Object;
use super::reference::Place;
use super::{FloatingVips, Import, ImportError, LeftOut, service, step};

/// Classes that services refer to; each is dealt with where it is.
const REFERRED_TO: [&str; 9] = [
    "Pool",
    "Monitor",
    "SNAT_Pool",
    "Persist",
    "Service_Address",
    "L4_Profile",
    "UDP_Profile",
    "Net_Address_List",
    "Net_Port_List",
];

/// Pointer, whether it is of IPv6, whether the port stays, and which, if that is the virtual server's.
pub type PoolKey = (String, bool, bool, Option<u16>);

/// What has been written so far.
#[derive(Default)]
pub struct Writer {
    /// What could not be.
    pub left_out: Vec<LeftOut>,
    /// Virtual servers.
    pub servers: Vec<String>,
    /// Pools, by pointer and how they are used; `None`: it has no backend.
    pub pools: BTreeMap<PoolKey, Option<String>>,
    /// SNAT pools by pointer, with the families they have.
    pub snat_pools: BTreeMap<String, (String, BTreeSet<bool>)>,
    /// Names of health checks, by pointer or word.
    checks: BTreeMap<String, Option<String>>,
    /// Health checks that need a port, and name none.
    pub portless: BTreeSet<String>,
    /// Sections other than virtual servers, in the order in which they were needed.
    pub sections: Vec<String>,
    /// Names that are taken, by kind.
    names: BTreeSet<(&'static str, String)>,
    /// Addresses, ports and protocols that are taken, and by whom.
    pub endpoints: BTreeMap<(IpAddr, u16, &'static str), String>,
    /// Places that something refers to.
    pub used: BTreeSet<String>,
}

impl Writer {
    /// Leaves something out.
    pub fn leave(&mut self, pointer: &str, why: impl Into<String>) {
        self.left_out.push(LeftOut {
            pointer: pointer.to_owned(),
            why: why.into(),
        });
    }

    /// A name that nothing else of its kind has.
    pub fn unique(&mut self, kind: &'static str, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        for number in 2.. {
            if self.names.insert((kind, name.clone())) {
                break;
            }
            let room = 63 - format!("-{number}").len();
            name = format!("{}-{number}", &wanted[..wanted.len().min(room)]);
        }
        name
    }

    /// An address; what it has beside itself is left out, and what is none.
    pub fn address(&mut self, text: &str, pointer: &str) -> Option<IpAddr> {
        let (address, domain) = match text.split_once('%') {
            Some((address, rest)) => {
                let length = rest.split_once('/').map_or("", |(_, length)| length);
                (format!("{address}/{length}"), true)
            }
            None => (text.to_owned(), false),
        };
        let (address, length) = address.split_once('/').unwrap_or((&address, ""));
        let parsed: Option<IpAddr> = address.parse().ok();
        let Some(address) = parsed.map(|address| address.to_canonical()) else {
            self.leave(pointer, format!("\"{text}\" is no address"));
            return None;
        };
        let whole = if address.is_ipv4() { "32" } else { "128" };
        if !length.is_empty() && length != whole {
            self.leave(pointer, "it is a network, not an address");
            return None;
        }
        if domain {
            self.leave(
                pointer,
                "there are no route domains: the address is taken without",
            );
        }
        Some(address)
    }

    /// The name of the health check for a declared monitor.
    pub fn monitor(&mut self, value: &Value, pointer: String, path: &[&str]) -> Option<String> {
        if let Some(known) = self.checks.get(&pointer) {
            return known.clone();
        }
        self.used.insert(pointer.clone());
        let object = Object::new(value, pointer.clone())?;
        let keys = monitor::declared(object, &mut self.left_out);
        let name = keys.map(|keys| self.health_check(&name(path), keys));
        self.checks.insert(pointer, name.clone());
        name
    }

    /// The name of the health check for a monitor of the BIG-IP's own.
    pub fn built_in(&mut self, word: &str) -> Option<String> {
        if let Some(known) = self.checks.get(word) {
            return known.clone();
        }
        let keys = monitor::built_in(word)?;
        let plain = word.trim_start_matches("/Common/");
        let name = self.health_check(&name(&[plain]), keys);
        self.checks.insert(word.to_owned(), Some(name.clone()));
        Some(name)
    }

    fn health_check(&mut self, wanted: &str, keys: Keys) -> String {
        let name = self.unique("health_check", wanted);
        let is = |key: &str| keys.iter().find(|(known, _)| *known == key);
        if is("port").is_none() && is("type").is_none_or(|(_, kind)| kind != "\"icmp\"") {
            self.portless.insert(name.clone());
        }
        let mut section = Section::new("[[health_check]]");
        section.text("name", &name);
        for (key, value) in keys {
            section.key(key, value);
        }
        self.sections.push(section.end());
        name
    }
}

/// Reads a declaration.
pub fn import(
    document: &Value,
    file: &str,
    floating: Option<&FloatingVips>,
) -> Result<Import, ImportError> {
    let (root, at) = match document["class"].as_str() {
        Some("ADC") => (document, String::new()),
        Some("AS3") => (&document["declaration"], "/declaration".to_owned()),
        _ => return Err(ImportError::Class("AS3 declaration", "AS3")),
    };
    let mut object =
        Object::new(root, at.clone()).ok_or(ImportError::Class("AS3 declaration", "ADC"))?;
    let mut writer = Writer::default();
    let tenants: Vec<_> = of_class(root, "Tenant");
    for (tenant, value) in &tenants {
        object.take(tenant);
        let pointer = step(&at, tenant);
        let Some(mut tenant_object) = Object::new(value, pointer.clone()) else {
            continue;
        };
        if tenant_object.take("enable") == Some(&Value::Bool(false)) {
            tenant_object.leave(
                "enable",
                "the tenant is switched off: nothing of it is carried over",
                &mut writer.left_out,
            );
            continue;
        }
        for (application, value) in of_class(value, "Application") {
            tenant_object.take(application);
            let place = Place {
                root,
                at: &at,
                tenant,
                application,
            };
            let pointer = step(&pointer, application);
            one_application(&place, value, &pointer, &mut writer, floating);
        }
        tenant_object.finish(&mut writer.left_out);
    }
    object.finish(&mut writer.left_out);
    let unused = unused(&at, &tenants, &writer);
    writer.left_out.extend(unused);
    Ok(Import {
        config: text(file, &writer, floating),
        left_out: in_order(document, writer.left_out),
    })
}

fn of_class<'a>(value: &'a Value, class: &str) -> Vec<(&'a String, &'a Value)> {
    let all = value.as_object().into_iter().flatten();
    all.filter(|(_, value)| value["class"] == class).collect()
}

fn one_application<'a>(
    place: &Place<'a>,
    value: &'a Value,
    pointer: &str,
    writer: &mut Writer,
    floating: Option<&FloatingVips>,
) {
    let Some(mut application) = Object::new(value, pointer.to_owned()) else {
        return;
    };
    if application.take("enable") == Some(&Value::Bool(false)) {
        application.leave(
            "enable",
            "the application is switched off: nothing of it is carried over",
            &mut writer.left_out,
        );
        return;
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let Some(class) = value["class"].as_str() else {
            continue;
        };
        application.take(key);
        let at = step(pointer, key);
        match class {
            "Service_L4" | "Service_TCP" | "Service_UDP" => {
                service::write(place, key, value, at, writer, floating);
            }
            _ if REFERRED_TO.contains(&class) => (),
            "Service_HTTP" | "Service_HTTPS" => writer.leave(
                &at,
                "HTTP is not looked at: where the service needs none of its features, declare it as Service_L4",
            ),
            "Service_Forwarding" => writer.leave(&at, "what goes through without a VIP is the host's routes' and [[egress]]'s"),
            _ => writer.leave(&at, format!("there is nothing like {class} here")),
        }
    }
    application.finish(&mut writer.left_out);
}

/// What services could refer to, and none that was carried over does.
fn unused(at: &str, tenants: &[(&String, &Value)], writer: &Writer) -> Vec<LeftOut> {
    let mut all = Vec::new();
    for (tenant, value) in tenants {
        for (application, value) in of_class(value, "Application") {
            for (key, value) in value.as_object().into_iter().flatten() {
                let class = value["class"].as_str().unwrap_or_default();
                let pointer = step(&step(&step(at, tenant), application), key);
                let within = |left: &LeftOut| {
                    pointer.starts_with(&format!("{}/", left.pointer))
                        || left.pointer.starts_with(&pointer)
                };
                let said = writer.left_out.iter().any(|left| {
                    within(left) || left.pointer == format!("{}/enable", step(at, tenant))
                });
                if REFERRED_TO.contains(&class) && !writer.used.contains(&pointer) && !said {
                    all.push(LeftOut {
                        pointer,
                        why: "no service that was carried over uses it".into(),
                    });
                }
            }
        }
    }
    all
}

/// Puts the list into the order of places, each line once.
fn in_order(document: &Value, mut left_out: Vec<LeftOut>) -> Vec<LeftOut> {
    let mut places = BTreeMap::new();
    number(document, String::new(), &mut places);
    left_out.sort_by_key(|left| (places.get(&left.pointer).copied(), left.clone()));
    left_out.dedup();
    left_out
}

fn number(value: &Value, pointer: String, places: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                number(value, step(&pointer, key), places);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                number(value, step(&pointer, &index.to_string()), places);
            }
        }
        _ => (),
    }
    let next = places.len();
    places.insert(pointer, next);
}

fn text(file: &str, writer: &Writer, floating: Option<&FloatingVips>) -> String {
    let mut text = super::cfe::head(file, floating);
    for part in writer.servers.iter().chain(&writer.sections) {
        text.push_str(part);
    }
    if let Some(floating) = floating {
        text.push_str(&super::cfe::cloud(floating, &writer.servers));
    }
    text
}
