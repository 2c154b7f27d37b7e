//! Egress SNAT.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use forwarder_common::limits;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{self, PortRange, Snat};
use super::super::prefix::Prefix;
use super::super::schema;
use super::super::section::Wrong as _;
use super::super::value::Number;
use super::view::{View, entries};

impl View<'_, '_> {
    /// Rules, and the SNAT pools that parts of others make.
    pub(super) fn build_egress(&mut self) -> Option<(Vec<model::Egress>, Vec<model::SnatPool>)> {
        let mut seen: BTreeMap<Prefix, Span> = BTreeMap::new();
        let (mut rules, mut parts) = (Vec::new(), Vec::new());
        let mut complete = true;
        for section in entries(&self.document.egress) {
            let made = self.egress(section);
            complete &= made.is_some();
            for (rule, part) in made.into_iter().flatten() {
                let span = hosts(section).unwrap_or(section.span);
                if let Some(first) = seen.insert(rule.source, span) {
                    let message = format!("there are two rules for {}", rule.source);
                    self.out.push(
                        Diagnostic::new(Code::DuplicateEgress, span, message)
                            .note(first, "first given here"),
                    );
                }
                rules.push(rule);
                parts.extend(part);
            }
        }
        self.check_counts_of_parts(&rules, parts.len());
        complete.then_some((rules, parts))
    }

    /// What is in the file has been counted; what comes of it may be more.
    fn check_counts_of_parts(&mut self, rules: &[model::Egress], parts: usize) {
        let pooled = entries(&self.document.egress);
        let Some(span) = pooled.iter().find_map(|rule| rule.pool.as_ref()) else {
            return;
        };
        let of_family = |v4| {
            rules
                .iter()
                .filter(|rule| rule.source.address().is_ipv4() == v4)
                .count()
        };
        let rules = of_family(true).max(of_family(false));
        if rules > limits::EGRESS_PREFIXES {
            let message = format!(
                "there are {rules} egress rules of one family, one for each backend; the limit is {}",
                limits::EGRESS_PREFIXES
            );
            self.push(Code::TooManyEgress, span.span, message);
        }
        let pools = parts + entries(&self.document.snat_pool).len();
        let limit = limits::SNAT_POOLS
            - 2 * entries(&self.document.interface)
                .len()
                .min(limits::INTERFACES);
        if pools > limit && parts > 0 {
            let message = format!(
                "there are {pools} SNAT pools, one for each backend among them; the limit is {limit}"
            );
            self.push(Code::TooManySnatPools, span.span, message);
        }
    }

    /// The rules of a section, each with a SNAT pool of its own if it has one.
    fn egress(&mut self, section: &Spanned<schema::Egress>) -> Option<Vec<Rule>> {
        let interface = section
            .interface
            .as_ref()
            .and_then(|name| self.interface_name(name));
        let snat_name = section.snat.as_ref()?;
        let snat = self.snat(snat_name);
        let sources = self.sources(section);
        let interface = interface?;
        let snat = snat?;
        let sources = sources?;
        for source in &sources {
            let family = source.address();
            let span = hosts(section).unwrap_or(snat_name.span);
            self.check_snat_family(&snat, family, snat_name.span);
            let out_of = self.interfaces.iter().find(|i| i.model.name == interface);
            if snat == Snat::Automap && out_of.is_some_and(|each| each.lacks_family(family)) {
                let message = format!(
                    "automap has no address for {source}: interface \"{interface}\" has none of its family"
                );
                self.push(Code::NoWayOut, span, message);
            }
        }
        if let Snat::Pool(name) = &snat {
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
        let parts = match &section.ports_per_backend {
            Some(ports) => self.parts(section, &snat, &sources, ports)?,
            None => vec![None; sources.len()],
        };
        let rules = sources.into_iter().zip(parts).map(|(source, part)| {
            let snat = match &part {
                Some(part) => Snat::Pool(part.name.clone()),
                None => snat.clone(),
            };
            let interface = interface.clone();
            let rule = model::Egress {
                source,
                interface,
                snat,
                idle_timeout: section.idle_timeout.as_ref().map(|key| key.value.0),
                idle_reset: section.idle_reset.as_ref().is_some_and(|key| key.value),
            };
            (rule, part)
        });
        Some(rules.collect())
    }

    /// The hosts whose connections it is about.
    fn sources(&mut self, section: &Spanned<schema::Egress>) -> Option<Vec<Prefix>> {
        let name = match (&section.source, &section.pool) {
            (Some(source), None) => return Some(vec![source.value]),
            (None, Some(name)) => name,
            (Some(_), Some(pool)) => {
                let message = "the hosts are given twice: source and pool";
                self.out.push(
                    Diagnostic::new(Code::EgressHosts, pool.span, message)
                        .expected("one of the two"),
                );
                return None;
            }
            (None, None) if section.is_wrong("source") || section.is_wrong("pool") => return None,
            (None, None) => {
                let named = section.interface.as_ref().map(|name| name.span);
                let span = named.unwrap_or(section.span);
                let message = "it is not said whose connections these are";
                self.out.push(
                    Diagnostic::new(Code::EgressHosts, span, message)
                        .expected("source = \"10.0.2.0/24\", or pool = \"web\""),
                );
                return None;
            }
        };
        let pool = View::known(&self.pool_names, name, Code::UnknownPool, "pool", self.out)?;
        let mut sources = Vec::new();
        for backend in entries(&pool.backend) {
            let address = backend.address.as_ref()?.value;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let source = Prefix::of(address, whole)?;
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        Some(sources)
    }

    /// A SNAT pool for each source: so many ports of one address.
    fn parts(
        &mut self,
        section: &schema::Egress,
        snat: &Snat,
        sources: &[Prefix],
        ports: &Spanned<Number<1, 65_535>>,
    ) -> Option<Vec<Option<model::SnatPool>>> {
        let named = match snat {
            Snat::Pool(name) => self.snat_pools.iter().find(|each| each.model.name == *name),
            Snat::Automap => None,
        };
        let (Some(whole), Some(_)) = (named, &section.pool) else {
            if section.pool.is_some() && *snat != Snat::Automap {
                // The SNAT pool has an error of its own.
                return None;
            }
            let message = "ports_per_backend needs a pool, and a SNAT pool to take them from";
            self.out.push(
                Diagnostic::new(Code::PortsPerBackend, ports.span, message)
                    .expected("pool = \"…\" and snat = \"…\" in the same section"),
            );
            return None;
        };
        let whole = whole.model.clone();
        let mut taken = [0; 2];
        let mut parts = Vec::new();
        for source in sources {
            let six = source.address().is_ipv6();
            let of_family = whole.addresses.iter().filter(|each| each.is_ipv6() == six);
            let addresses: Vec<IpAddr> = of_family.copied().collect();
            let place = &mut taken[usize::from(six)];
            let Some((address, own)) = block(&addresses, whole.ports.own, ports.0, *place) else {
                let message = format!(
                    "the SNAT pool \"{}\" has {ports} ports for {place} of {} backends",
                    whole.name,
                    sources
                        .iter()
                        .filter(|each| each.address().is_ipv6() == six)
                        .count(),
                    ports = ports.0,
                );
                self.out.push(
                    Diagnostic::new(Code::PortsPerBackend, ports.span, message)
                        .help("give them fewer ports each, or the SNAT pool more addresses"),
                );
                return None;
            };
            *place += 1;
            parts.push(Some(model::SnatPool {
                name: format!("{}/{}", whole.name, source.address()),
                addresses: vec![address],
                ports: model::SharedPorts {
                    own,
                    all: whole.ports.all,
                },
                ..whole.clone()
            }));
        }
        Some(parts)
    }
}

/// A rule, and the SNAT pool that it has to itself.
type Rule = (model::Egress, Option<model::SnatPool>);

/// Where a section says whose connections it is about.
fn hosts(section: &schema::Egress) -> Option<Span> {
    let source = section.source.as_ref().map(|source| source.span);
    source.or_else(|| section.pool.as_ref().map(|pool| pool.span))
}

/// The address and the ports of the block with this number; `None`: there are not so many.
fn block(
    addresses: &[IpAddr],
    ports: PortRange,
    size: u32,
    number: u32,
) -> Option<(IpAddr, PortRange)> {
    let (low, high) = (u32::from(ports.low.get()), u32::from(ports.high.get()));
    let each = (high - low + 1) / size;
    let address = addresses.get(number.checked_div(each)? as usize)?;
    let first = low + number % each * size;
    let port = |port: u32| NonZeroU16::new(u16::try_from(port).ok()?);
    let range = PortRange {
        low: port(first)?,
        high: port(first + size - 1)?,
    };
    Some((*address, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_disjoint_and_as_many_as_there_is_room_for() {
        let port = |port| NonZeroU16::new(port).expect("a port");
        let ports = PortRange {
            low: port(1024),
            high: port(65_535),
        };
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        let mut seen = BTreeMap::new();
        for number in 0.. {
            let Some((address, range)) = block(&addresses, ports, 1_000, number) else {
                assert_eq!(number, 2 * 64);
                break;
            };
            assert_eq!(range.high.get() - range.low.get(), 999);
            assert!(range.high <= ports.high);
            let before = seen.insert(address, range.high);
            assert!(before.is_none_or(|before| before < range.low), "{range}");
        }
        assert_eq!(block(&addresses[..1], ports, 64_513, 0), None);
    }
}
