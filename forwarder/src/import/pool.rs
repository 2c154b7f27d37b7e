//! Pools and their members.

use std::net::IpAddr;

use serde_json::Value;

use super::as3::Writer;
use super::emit::{Section, quoted};
use super::object::Object;
use super::reference::{Place, Reference};
use super::{LeftOut, step};

/// A name in the config file, once a pool is written.
pub struct Pool<'a> {
    /// The declaration's.
    pub value: &'a Value,
    /// Its place.
    pub pointer: String,
    /// The name it gets.
    pub name: String,
    /// Backends are of this family.
    pub ipv6: bool,
    /// Whether they take packets at the port they were sent to.
    pub same_port: bool,
    /// Whether members without a port of their own have none at all.
    pub any_port: bool,
}

impl Pool<'_> {
    /// Writes it; `None`: it has no backend that could be carried over.
    pub fn write(&self, place: &Place<'_>, writer: &mut Writer) -> Option<String> {
        let mut object = Object::new(self.value, self.pointer.clone())?;
        let mut section = Section::new("[[pool]]");
        section.text("name", &self.name);
        if let Some(check) = check(&mut object, place, self.any_port, writer) {
            section.text("health_check", &check);
        }
        if let Some(seconds @ 1..=3600) = object.take("slowRampTime").and_then(Value::as_i64) {
            section.key("slow_start", quoted(&format!("{seconds}s")));
        }
        let mut text = section.end();
        let mut known = Vec::new();
        for (index, member) in object.list("members").iter().enumerate() {
            let pointer = step(&object.at("members"), &index.to_string());
            match Object::new(member, pointer.clone()) {
                Some(object) => self.member(object, place, writer, &mut known, &mut text),
                None => writer.leave(&pointer, "it is no member"),
            }
        }
        object.finish(&mut writer.left_out);
        if known.is_empty() {
            writer.leave(&self.pointer, "it has no member that could be carried over");
            return None;
        }
        Some(text)
    }

    fn member(
        &self,
        mut object: Object<'_>,
        place: &Place<'_>,
        writer: &mut Writer,
        known: &mut Vec<(IpAddr, i64)>,
        text: &mut String,
    ) {
        if let Some(how) = object
            .text("addressDiscovery")
            .filter(|how| *how != "static")
        {
            let how = format!("members are not discovered ({how}): list their addresses");
            object.leave("addressDiscovery", how, &mut writer.left_out);
            return;
        }
        let port = object.number("servicePort").unwrap_or(0);
        let state = match (object.take("enable"), object.text("adminState")) {
            (Some(Value::Bool(false)), _) | (_, Some("offline")) => Some("disabled"),
            (_, Some("disable")) => Some("drained"),
            _ => None,
        };
        let weight = object.number("ratio");
        let no_port = self.any_port && (self.same_port || port == 0);
        let check = check(&mut object, place, no_port, writer);
        let mut hosts: Vec<(Option<&str>, String, &str)> = Vec::new();
        for (index, address) in object.list("serverAddresses").iter().enumerate() {
            let pointer = step(&object.at("serverAddresses"), &index.to_string());
            hosts.push((None, pointer, address.as_str().unwrap_or_default()));
        }
        for (index, server) in object.list("servers").iter().enumerate() {
            let pointer = step(&object.at("servers"), &index.to_string());
            let address = server["address"].as_str().unwrap_or_default();
            hosts.push((server["name"].as_str(), pointer, address));
        }
        for (name, pointer, written) in hosts {
            let Some(address) = writer.address(written, &pointer) else {
                continue;
            };
            if address.is_ipv6() != self.ipv6 {
                writer.leave(&pointer, "a backend has the VIP's family");
                continue;
            }
            if known.contains(&(address, port)) {
                writer.leave(&pointer, "the pool has it already");
                continue;
            }
            known.push((address, port));
            let mut section = Section::new("[[pool.backend]]");
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                let name = super::emit::name(&[name]);
                if !text.contains(&format!("name = {}\n", quoted(&name))) {
                    section.text("name", &name);
                }
            }
            section.text("address", &address.to_string());
            if (1..=65535).contains(&port) && !self.same_port {
                section.key("port", port);
            }
            if let Some(weight) = weight {
                section.key("weight", weight.clamp(1, 100));
            }
            if let Some(state) = state {
                section.text("state", state);
            }
            if let Some(check) = &check {
                section.text("health_check", check);
            }
            text.push_str(&section.end());
        }
        if weight.is_some_and(|weight| !(1..=100).contains(&weight)) {
            object.leave("ratio", "a weight is 1 to 100", &mut writer.left_out);
        }
        object.finish(&mut writer.left_out);
    }
}

/// The first of an object's monitors. `no_port`: there is none but what the monitor names itself.
fn check(
    object: &mut Object<'_>,
    place: &Place<'_>,
    no_port: bool,
    writer: &mut Writer,
) -> Option<String> {
    let mut chosen = None;
    for (index, monitor) in object.list("monitors").iter().enumerate() {
        let pointer = step(&object.at("monitors"), &index.to_string());
        if chosen.is_some() {
            writer.leave(
                &pointer,
                "a backend has one health check: the first is taken",
            );
            continue;
        }
        let found = match place.resolve(monitor) {
            Some(Reference::Here {
                value,
                pointer,
                name,
            }) => writer.monitor(value, pointer, &name),
            Some(Reference::Word(word) | Reference::Device(word)) => {
                let known = writer.built_in(word);
                if known.is_none() {
                    writer.left_out.push(LeftOut {
                        pointer,
                        why: format!(
                            "{word} is not in the declaration: what it does is not known here"
                        ),
                    });
                }
                known
            }
            None => {
                writer.leave(&pointer, "it names no monitor");
                None
            }
        };
        let nowhere = |check: &String| no_port && writer.portless.contains(check);
        if found.as_ref().is_some_and(nowhere) {
            let why = "neither it nor the members name a port, so there is none to check";
            writer.leave(&step(&object.at("monitors"), &index.to_string()), why);
            continue;
        }
        chosen = found;
    }
    chosen
}
