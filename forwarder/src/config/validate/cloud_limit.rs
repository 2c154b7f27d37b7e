//! Whether an instance may have what the file wants of it.

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Spanned};
use super::super::instance_type::{InstanceLimits, LimitsTable, built_in, exceeded, read_table};
use super::super::model::Model;
use super::super::schema;
use super::super::value::InstanceType;
use super::view::View;

impl<'d> View<'d, '_> {
    /// Whether the instance may have all addresses and interfaces.
    pub(super) fn check_cloud_limits(&mut self, section: &'d schema::Cloud, model: &Model) {
        let of = self.pick(&section.instance_type);
        let given = self.pick(&section.address_limit);
        let table = self.limits_table(section);
        let known = of.and_then(|of| {
            let name = of.value.to_string();
            table.get(&name).copied().or_else(|| built_in(&name))
        });
        let (name, mut limits, span) = match (known, of, given) {
            (Some(limits), Some(of), _) => (of.value.to_string(), limits, of.span),
            (_, None, Some(given)) => ("this instance".to_owned(), NONE, given.span),
            (None, Some(of), Some(_)) => (of.value.to_string(), NONE, of.span),
            (None, Some(of), None) => return self.unknown_type(of),
            (_, None, None) => return,
        };
        if let Some(given) = given {
            let most = given.value.0 as usize;
            (limits.ipv4, limits.ipv6) = (most, most);
        }
        let span = given.map_or(span, |given| given.span);
        for message in exceeded(model, &name, &limits) {
            self.out
                .push(Diagnostic::new(Code::CloudLimit, span, message));
        }
    }

    fn unknown_type(&mut self, of: &Spanned<InstanceType>) {
        let message = format!("{} is not known", of.value);
        self.push(Code::CloudUnknownType, of.span, message);
    }

    fn limits_table(&mut self, section: &'d schema::Cloud) -> LimitsTable {
        let Some(path) = &section.limits_file else {
            return LimitsTable::new();
        };
        read_table(&path.value.0).unwrap_or_else(|why| {
            let message = format!("{}: {why}", path.value.0.display());
            self.push(Code::CloudLimitsFile, path.span, message);
            LimitsTable::new()
        })
    }
}

/// No limits are known.
const NONE: InstanceLimits = InstanceLimits {
    interfaces: usize::MAX,
    ipv4: usize::MAX,
    ipv6: usize::MAX,
};
