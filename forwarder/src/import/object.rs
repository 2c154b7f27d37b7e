//! Reading an object so that nothing of it is forgotten.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::why::why;
use super::{LeftOut, step};

/// An object with its place; what nobody takes is left out.
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    /// Its place.
    pub pointer: String,
    taken: BTreeSet<&'a str>,
    /// What was looked at, and is not what it should be.
    odd: BTreeSet<&'a str>,
}

impl<'a> Object<'a> {
    /// `None`: the value is no object.
    pub fn new(value: &'a Value, pointer: String) -> Option<Self> {
        let map = value.as_object()?;
        Some(Self {
            map,
            pointer,
            taken: BTreeSet::new(),
            odd: BTreeSet::new(),
        })
    }

    /// A property, which is thereby dealt with.
    pub fn take(&mut self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.map.get_key_value(key)?;
        self.taken.insert(key);
        Some(value)
    }

    /// A property that is of a kind; one of another kind is left out.
    fn take_as<T>(&mut self, key: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let (key, value) = self.map.get_key_value(key)?;
        let read = read(value);
        match read.is_some() {
            true => self.taken.insert(key),
            false => self.odd.insert(key),
        };
        read
    }

    /// A property that is a text.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        self.take_as(key, Value::as_str)
    }

    /// A property that is a number.
    pub fn number(&mut self, key: &str) -> Option<i64> {
        self.take_as(key, Value::as_i64)
    }

    /// A property that is a list; empty if it is not there.
    pub fn list(&mut self, key: &str) -> &'a [Value] {
        let list = self.take_as(key, Value::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    /// The place of a property.
    pub fn at(&self, key: &str) -> String {
        step(&self.pointer, key)
    }

    /// Leaves a property out, for a reason of its own.
    pub fn leave(&mut self, key: &str, reason: impl Into<String>, out: &mut Vec<LeftOut>) {
        self.take(key);
        out.push(LeftOut {
            pointer: self.at(key),
            why: reason.into(),
        });
    }

    /// Leaves everything out that nobody has taken, and that does not say what holds anyway.
    pub fn finish(self, out: &mut Vec<LeftOut>) {
        for (key, value) in self.map {
            if self.taken.contains(key.as_str()) || holds_anyway(key, value) {
                continue;
            }
            let why = match self.odd.contains(key.as_str()) {
                true => "it is not the kind of value that belongs there",
                false => why(key),
            };
            out.push(LeftOut {
                pointer: step(&self.pointer, key),
                why: why.into(),
            });
        }
    }
}

/// Words for people, and defaults that are spelled out.
fn holds_anyway(key: &str, value: &Value) -> bool {
    let nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    };
    let word = value.as_str();
    match key {
        "class" | "remark" | "label" | "id" | "schemaVersion" | "updateMode" | "template"
        | "metadata" => true,
        "$schema" | "controls" | "action" | "persist" | "shareNodes" | "shareAddresses"
        | "userAgent" => true,
        "enable" | "translateServerAddress" | "translateServerPort" => value == &Value::Bool(true),
        "translateClientPort" => value == &Value::Bool(true) || word == Some("preserve"),
        "allowSNATEnabled" | "allowNATEnabled" | "arpEnabled" => value == &Value::Bool(true),
        "icmpEcho" => word == Some("enable"),
        "profileL4" => word == Some("basic"),
        "profileTCP" | "profileUDP" => word == Some("normal"),
        "lastHop" => word == Some("default") || word == Some("auto"),
        "mirroring" | "serviceDownAction" | "addressDiscovery" => nothing || word == Some("static"),
        "minimumMembersActive" | "minimumMonitors" => value.as_i64() == Some(1),
        "rateLimit" => nothing || value.as_i64() == Some(-1),
        "loadBalancingMode" => matches!(word, Some("round-robin" | "ratio-member")),
        "trafficGroup" => matches!(word, Some("default" | "/Common/traffic-group-1")),
        _ => nothing,
    }
}
