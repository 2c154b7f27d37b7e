//! Health checks.

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{HealthCheck, HttpRequest, Payload, Probe, StatusRange};
use super::super::schema;
use super::super::value::ProbeType::{self, Http, Https, Icmp, Tcp, Udp};
use super::super::value::ProbeVia;
use super::view::View;

impl View<'_, '_> {
    pub(super) fn health_check(&mut self, section: &schema::HealthCheck) -> Option<HealthCheck> {
        let kind = section.r#type.as_ref()?;
        self.check_keys(section, kind);
        self.check_via(section, kind);
        let (send, expect) = (payload(&section.send), payload(&section.expect));
        let probe = match kind.value {
            Tcp => Probe::Tcp {
                send: send.unwrap_or_default(),
                expect,
            },
            Http => Probe::Http(request(section, expect)),
            Https => Probe::Https {
                request: request(section, expect),
                ca_file: section.ca_file.as_ref().map(|file| file.0.clone()),
            },
            Udp => Probe::Udp {
                send: send.unwrap_or_default(),
                expect,
            },
            Icmp => Probe::Icmp,
        };
        Some(HealthCheck {
            name: section.name.as_ref()?.0.clone(),
            probe,
            interval: section.interval.as_ref()?.value,
            timeout: section.timeout.as_ref()?.value,
            rise: u8::try_from(section.rise.as_ref()?.0).ok()?,
            fall: u8::try_from(section.fall.as_ref()?.0).ok()?,
            max_hold: section.max_hold.as_ref()?.value,
        })
    }

    /// Silence says nothing about a tunnel.
    fn check_via(&mut self, section: &schema::HealthCheck, kind: &Spanned<ProbeType>) {
        let Some(via) = section.via.as_ref() else {
            return;
        };
        if via.value == ProbeVia::Tunnel && kind.value == Udp && section.expect.is_none() {
            let message = "a udp check through the tunnel must expect an answer";
            self.out.push(
                Diagnostic::new(Code::MissingKey, kind.span, message)
                    .note(via.span, "it goes through the tunnel")
                    .help("write what it is to hold, or expect = \"\" for any answer"),
            );
        }
    }

    /// Only keys that the type has.
    fn check_keys(&mut self, section: &schema::HealthCheck, kind: &Spanned<ProbeType>) {
        let http: &[ProbeType] = &[Http, Https];
        let given: [(&str, Option<Span>, &[ProbeType]); 7] = [
            ("port", place(&section.port), &[Tcp, Http, Https, Udp]),
            ("path", place(&section.path), http),
            ("host", place(&section.host), http),
            ("status", place(&section.status), http),
            ("ca_file", place(&section.ca_file), &[Https]),
            ("send", place(&section.send), &[Tcp, Udp]),
            ("expect", place(&section.expect), &[Tcp, Http, Https, Udp]),
        ];
        for (key, span, types) in given {
            let Some(span) = span.filter(|_| !types.contains(&kind.value)) else {
                continue;
            };
            let types = types.iter().map(|each| format!("\"{each}\""));
            let types: Vec<_> = types.collect();
            let article = match kind.value {
                Tcp | Udp => "a",
                Http | Https | Icmp => "an",
            };
            let message = format!("{article} {} check has no {key}", kind.value);
            self.out.push(
                Diagnostic::new(Code::KeyNotForType, span, message)
                    .note(kind.span, "the type is given here")
                    .help(format!(
                        "leave out {key}, or write type = {}",
                        types.join(" or ")
                    )),
            );
        }
    }
}

fn place<T>(key: &Option<Spanned<T>>) -> Option<Span> {
    key.as_ref().map(|key| key.span)
}

fn payload(key: &Option<Spanned<Payload>>) -> Option<Payload> {
    key.as_ref().map(|key| key.value.clone())
}

fn request(section: &schema::HealthCheck, expect: Option<Payload>) -> HttpRequest {
    let ok = StatusRange {
        low: 200,
        high: 200,
    };
    HttpRequest {
        path: section.path.as_ref().map_or("/", |path| &path.0).to_owned(),
        host: section.host.as_ref().map(|host| host.0.clone()),
        status: match &section.status {
            Some(list) => list.value.0.iter().map(|range| range.value).collect(),
            None => vec![ok],
        },
        expect,
    }
}
