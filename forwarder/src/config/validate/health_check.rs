//! Health checks.

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::{HealthCheck, Probe};
use super::super::schema;
use super::super::value::ProbeType;
use super::view::View;

impl View<'_, '_> {
    pub(super) fn health_check(&mut self, section: &schema::HealthCheck) -> Option<HealthCheck> {
        let kind = section.r#type.as_ref();
        if let Some(kind) = kind
            && kind.value == ProbeType::Tcp
        {
            let only_http = [
                ("path", section.path.as_ref().map(|key| key.span)),
                ("host", section.host.as_ref().map(|key| key.span)),
                ("status", section.status.as_ref().map(|key| key.span)),
            ];
            for (key, span) in only_http {
                self.only_http(key, span, kind.span);
            }
        }
        let probe = match kind?.value {
            ProbeType::Tcp => Probe::Tcp,
            ProbeType::Http => Probe::Http {
                path: section.path.as_ref().map_or("/", |path| &path.0).to_owned(),
                host: section.host.as_ref().map(|host| host.0.clone()),
                status: match &section.status {
                    Some(list) => {
                        let codes = list.value.0.iter().map(|code| u16::try_from(code.0).ok());
                        codes.collect::<Option<_>>()?
                    }
                    None => vec![200],
                },
            },
        };
        Some(HealthCheck {
            name: section.name.as_ref()?.0.clone(),
            probe,
            interval: section.interval.as_ref()?.value,
            timeout: section.timeout.as_ref()?.value,
            rise: u8::try_from(section.rise.as_ref()?.0).ok()?,
            fall: u8::try_from(section.fall.as_ref()?.0).ok()?,
        })
    }

    fn only_http(&mut self, key: &str, span: Option<Span>, kind: Span) {
        if let Some(span) = span {
            let message = format!("a tcp check has no {key}");
            self.out.push(
                Diagnostic::new(Code::KeyNotForType, span, message)
                    .note(kind, "the type is given here")
                    .help(format!("leave out {key}, or write type = \"http\"")),
            );
        }
    }
}
