//! Egress SNAT.

use std::collections::BTreeMap;

use super::super::code::Code;
use super::super::diagnostic::Diagnostic;
use super::super::diagnostic::Span;
use super::super::model::{self, Snat};
use super::super::prefix::Prefix;
use super::super::schema;
use super::view::{View, entries};

impl View<'_, '_> {
    pub(super) fn build_egress(&mut self) -> Option<Vec<model::Egress>> {
        let mut seen: BTreeMap<Prefix, Span> = BTreeMap::new();
        let mut list = Vec::new();
        for section in entries(&self.document.egress) {
            if let Some(source) = &section.source
                && let Some(first) = seen.insert(source.value, source.span)
            {
                let message = format!("there are two rules for {}", source.value);
                self.out.push(
                    Diagnostic::new(Code::DuplicateEgress, source.span, message)
                        .note(first, "first given here"),
                );
            }
            list.push(self.egress(section));
        }
        list.into_iter().collect()
    }

    fn egress(&mut self, section: &schema::Egress) -> Option<model::Egress> {
        let interface = section
            .interface
            .as_ref()
            .and_then(|name| self.interface_name(name));
        let snat_name = section.snat.as_ref()?;
        let snat = self.snat(snat_name);
        let source = section.source.as_ref()?;
        let interface = interface?;
        let snat = snat?;
        let family = source.address();
        self.check_snat_family(&snat, family, snat_name.span);
        match &snat {
            Snat::Automap => {
                let out_of = self.interfaces.iter().find(|i| i.model.name == interface);
                if out_of.is_some_and(|interface| interface.lacks_family(family)) {
                    let message = format!(
                        "automap has no address for {}: interface \"{interface}\" has none of its family",
                        source.value
                    );
                    self.push(Code::NoWayOut, source.span, message);
                }
            }
            Snat::Pool(name) => {
                let pool = self.snat_pools.iter().find(|pool| pool.model.name == *name);
                if let Some(pool) = pool
                    && pool.model.interface != interface
                {
                    let message = format!(
                        "the SNAT pool \"{name}\" belongs to interface \"{}\", not to \"{interface}\"",
                        pool.model.interface
                    );
                    self.push(Code::SnatInterface, snat_name.span, message);
                }
            }
        }
        Some(model::Egress {
            source: source.value,
            interface,
            snat,
        })
    }
}
