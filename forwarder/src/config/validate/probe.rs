//! What tells others whether this node is active: probe ports, hooks, routes.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::{DEFAULT_GROUP, Hook, Payload, ProbeAnswer, ProbePort};
use super::super::schema;
use super::super::value::ProbeProtocol;
use super::view::{View, entries};

impl View<'_, '_> {
    pub(super) fn probes(&mut self) -> Option<Vec<ProbePort>> {
        let mut seen: BTreeMap<NonZeroU16, Span> = BTreeMap::new();
        let mut probes = Vec::new();
        for section in entries(&self.document.probe) {
            if let Some(port) = &section.port
                && let Some(first) = seen.insert(port.value, port.span)
            {
                let message = format!("there are two probes with port {}", port.value);
                self.out.push(
                    Diagnostic::new(Code::DuplicateEntry, port.span, message)
                        .note(first, "first given here"),
                );
            }
            probes.push(self.probe(section));
        }
        probes.into_iter().collect()
    }

    pub(super) fn hooks(&mut self) -> Option<Vec<Hook>> {
        let hooks = entries(&self.document.hook).iter().map(|section| {
            Some(Hook {
                program: section.program.as_ref()?.0.clone(),
                timeout: section.timeout.as_ref()?.value,
            })
        });
        hooks.collect()
    }

    /// The outer `None`: something is wrong with it.
    pub(super) fn route_table(&mut self) -> Option<Option<u32>> {
        let table = &self.document.routes.as_ref()?.table;
        Some(table.as_ref().map(|table| table.0))
    }

    fn probe(&mut self, section: &schema::Probe) -> Option<ProbePort> {
        let protocol = section.protocol.as_ref()?;
        let (message, path) = (section.message.as_ref(), section.path.as_ref());
        let foreign = match protocol.value {
            ProbeProtocol::Tcp => path.map(|path| ("path", path.span)),
            ProbeProtocol::Http => message.map(|message| ("message", message.span)),
        };
        if let Some((key, span)) = foreign {
            let message = format!("{} probe has no {key}", article(protocol.value));
            self.push(Code::KeyNotForType, span, message);
        }
        let group = match &section.group {
            None => None,
            Some(name) if name.0 == DEFAULT_GROUP && self.document.pair.is_some() => {
                Some(DEFAULT_GROUP.to_owned())
            }
            Some(name) => {
                let (names, code) = (&self.group_names, Code::UnknownGroup);
                View::known(names, name, code, "group", self.out)?;
                Some(name.0.clone())
            }
        };
        Some(ProbePort {
            port: section.port.as_ref()?.value,
            group,
            answer: match protocol.value {
                ProbeProtocol::Tcp => ProbeAnswer::Tcp {
                    message: message.map_or_else(Payload::default, |message| message.value.clone()),
                },
                ProbeProtocol::Http => ProbeAnswer::Http {
                    path: path.map_or_else(|| "/".to_owned(), |path| path.value.0.clone()),
                },
            },
        })
    }
}

fn article(protocol: ProbeProtocol) -> &'static str {
    match protocol {
        ProbeProtocol::Tcp => "a tcp",
        ProbeProtocol::Http => "an http",
    }
}
