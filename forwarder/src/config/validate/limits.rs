//! Whether everything fits.

use std::net::IpAddr;

use forwarder_common::limits as fixed;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::Limits;
use super::view::{View, entries};

/// Own addresses of an interface; no cloud gives one more than 256.
pub(super) const OWN_ADDRESSES: usize = 256;

pub(super) const INTERFACES: usize = fixed::INTERFACES;

impl View<'_, '_> {
    pub(super) fn limits(&self) -> Option<Limits> {
        let limits = self.document.limits.as_ref()?;
        Some(Limits {
            virtual_servers: limits.virtual_servers.as_ref()?.0,
            backends: limits.backends.as_ref()?.0,
            flows: limits.flows.as_ref()?.0,
            embryonic_flows: limits.embryonic_flows.as_ref()?.0,
            table_slots: limits.table_slots.as_ref()?.0,
        })
    }

    pub(super) fn check_counts(&mut self) {
        let document = self.document;
        let servers = entries(&document.virtual_server);
        let pools = entries(&document.pool);
        let limits = self.limits();
        if let Some(limits) = limits {
            let help = |key: &str, need: usize| format!("raise it: [limits] {key} = {need}");
            let backends = || pools.iter().flat_map(|pool| entries(&pool.backend));
            let (have, limit) = (backends().count(), limits.backends as usize);
            let span = backends().nth(limit).map(|backend| backend.span);
            self.exceeded(Code::TooManyBackends, "backends", have, limit, span)
                .into_iter()
                .for_each(|d| self.out.push(d.help(help("backends", have))));
            let (have, limit) = (servers.len(), limits.virtual_servers as usize);
            let span = servers.get(limit).map(|server| server.span);
            self.exceeded(
                Code::TooManyVirtualServers,
                "virtual servers",
                have,
                limit,
                span,
            )
            .into_iter()
            .for_each(|d| self.out.push(d.help(help("virtual_servers", have))));
        }
        let interfaces = entries(&document.interface);
        let span = interfaces.get(INTERFACES).map(|interface| interface.span);
        let all = [
            self.exceeded(
                Code::TooManyInterfaces,
                "interfaces",
                interfaces.len(),
                INTERFACES,
                span,
            ),
            self.snat_pool_count(),
            self.egress_count(),
            self.prefix_count(),
        ];
        all.into_iter()
            .flatten()
            .for_each(|diagnostic| self.out.push(diagnostic));
    }

    fn exceeded(
        &self,
        code: Code,
        what: &str,
        have: usize,
        limit: usize,
        span: Option<Span>,
    ) -> Option<Diagnostic> {
        let message = format!("there are {have} {what}, the limit is {limit}");
        (have > limit).then(|| Diagnostic::new(code, span.unwrap_or(Span::FILE), message))
    }

    fn snat_pool_count(&self) -> Option<Diagnostic> {
        let pools = entries(&self.document.snat_pool);
        let interfaces = entries(&self.document.interface).len().min(INTERFACES);
        // Automap takes one pool of each family at every interface.
        let limit = fixed::SNAT_POOLS - 2 * interfaces;
        let span = pools.get(limit).map(|pool| pool.span);
        self.exceeded(
            Code::TooManySnatPools,
            "SNAT pools",
            pools.len(),
            limit,
            span,
        )
    }

    fn egress_count(&self) -> Option<Diagnostic> {
        let rules = entries(&self.document.egress);
        let of_family = |v4: bool| {
            let is = move |address: IpAddr| address.is_ipv4() == v4;
            rules
                .iter()
                .filter(move |r| r.source.as_ref().is_some_and(|s| is(s.address())))
        };
        [true, false].into_iter().find_map(|v4| {
            let span = of_family(v4)
                .nth(fixed::EGRESS_PREFIXES)
                .map(|rule| rule.span);
            let have = of_family(v4).count();
            let what = "egress rules of one family";
            self.exceeded(
                Code::TooManyEgress,
                what,
                have,
                fixed::EGRESS_PREFIXES,
                span,
            )
        })
    }

    fn prefix_count(&self) -> Option<Diagnostic> {
        let servers = entries(&self.document.virtual_server);
        let of_family = |v4: bool| {
            let lists = servers
                .iter()
                .flat_map(|server| [&server.allow, &server.deny]);
            lists
                .flatten()
                .flat_map(|list| &list.value.0)
                .filter(move |prefix| prefix.address().is_ipv4() == v4)
        };
        [true, false].into_iter().find_map(|v4| {
            let span = of_family(v4)
                .nth(fixed::ADMISSION_PREFIXES)
                .map(|prefix| prefix.span);
            let have = of_family(v4).count();
            let what = "allow and deny prefixes of one family";
            self.exceeded(
                Code::TooManyPrefixes,
                what,
                have,
                fixed::ADMISSION_PREFIXES,
                span,
            )
        })
    }
}
