//! SNAT pools.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Spanned};
use super::super::model::{self, DEFAULT_GROUP, PortRange};
use super::super::schema;
use super::super::value::PerNode;
use super::interface::Route;
use super::view::{View, entries};

/// A SNAT pool and where its parts are given.
pub(super) struct SnatPool {
    pub(super) model: model::SnatPool,
    pub(super) addresses: Vec<Spanned<IpAddr>>,
}

/// The part of a range that a node of a pair takes: the first node the lower one.
pub(super) fn half(all: PortRange, index: usize) -> Option<PortRange> {
    let (low, high) = (all.low.get(), all.high.get());
    let last_of_first = low + (high - low) / 2;
    let (low, high) = if index == 0 {
        (low, last_of_first)
    } else {
        (last_of_first.checked_add(1)?, high)
    };
    let range = PortRange {
        low: NonZeroU16::new(low)?,
        high: NonZeroU16::new(high)?,
    };
    (low <= high).then_some(range)
}

impl View<'_, '_> {
    pub(super) fn build_snat_pools(&mut self) -> Option<Vec<model::SnatPool>> {
        let mut complete = true;
        for section in entries(&self.document.snat_pool) {
            match self.snat_pool(section) {
                Some(pool) => self.snat_pools.push(pool),
                None => complete = false,
            }
        }
        complete.then(|| {
            self.snat_pools
                .iter()
                .map(|pool| pool.model.clone())
                .collect()
        })
    }

    fn snat_pool(&mut self, section: &schema::SnatPool) -> Option<SnatPool> {
        if let Some(name) = &section.name
            && name.0 == "automap"
        {
            let message = "a SNAT pool can't be called \"automap\"";
            self.push(Code::ReservedName, name.span, message);
        }
        let addresses = self
            .pick(&section.addresses)
            .map(|list| list.value.0.clone());
        for address in addresses.iter().flatten() {
            self.check_address("a SNAT address", address.value, address.span);
        }
        let named = section.addresses.as_ref();
        let moves = named.is_some_and(|named| matches!(named.value, PerNode::Same(_)));
        let ports = section.ports.as_ref().and_then(|ports| self.share(ports));
        let interface = match &section.interface {
            Some(name) => self.interface_name(name),
            None => self.snat_interface(addresses.as_ref()?.first()?),
        };
        let addresses = addresses?;
        Some(SnatPool {
            model: model::SnatPool {
                name: section.name.as_ref()?.0.clone(),
                addresses: addresses.iter().map(|address| address.value).collect(),
                ports: ports?,
                interface: interface?,
                group: DEFAULT_GROUP.to_owned(),
                moves,
            },
            addresses,
        })
    }

    fn snat_interface(&mut self, first: &Spanned<IpAddr>) -> Option<String> {
        if let [only] = entries(&self.document.interface) {
            return Some(only.name.as_ref()?.0.clone());
        }
        match self.route(first.value) {
            Route::Interface(at) => Some(self.interfaces.get(at)?.model.name.clone()),
            _ if self.interfaces.is_empty() => None,
            _ => {
                let message = "it is not clear which interface has the addresses of this SNAT pool";
                self.out.push(
                    Diagnostic::new(Code::AmbiguousInterface, first.span, message)
                        .help("name it: interface = \"…\""),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NonZeroU16, PortRange, half};

    fn range(low: u16, high: u16) -> PortRange {
        let port = |port| NonZeroU16::new(port).expect("a port");
        PortRange {
            low: port(low),
            high: port(high),
        }
    }

    #[test]
    fn halves_are_disjoint_and_whole() {
        for (low, high) in [
            (1, 65_535),
            (1024, 65_535),
            (10, 11),
            (16_384, 32_767),
            (65_534, 65_535),
        ] {
            let first = half(range(low, high), 0).expect("a half");
            let second = half(range(low, high), 1).expect("a half");
            assert_eq!((first.low.get(), second.high.get()), (low, high));
            assert_eq!(first.high.get() + 1, second.low.get());
        }
        assert_eq!(half(range(7, 7), 1), None);
        assert_eq!(half(range(65_535, 65_535), 1), None);
    }
}
