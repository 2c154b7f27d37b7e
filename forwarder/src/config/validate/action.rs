//! What a virtual server does with its packets: mode, SNAT, and whether its pool suits them.

use std::net::IpAddr;

use forwarder_common::Mode;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Spanned};
use super::super::model::{Action, ServicePort, Snat};
use super::super::schema;
use super::super::section::Wrong as _;
use super::super::value::PerNode;
use super::pool::{Pool, Pools};
use super::view::View;
use super::virtual_server::family;

impl<'d> View<'d, '_> {
    pub(super) fn action(
        &mut self,
        section: &'d schema::VirtualServer,
        pools: &Pools<'d>,
        vip: Option<IpAddr>,
    ) -> Option<Action> {
        let mode = section.mode.as_ref()?;
        let snat = self.server_snat(section, mode, vip);
        if mode.value == Mode::Local {
            if let Some(pool) = &section.pool {
                let message = "a local virtual server has no pool";
                self.out.push(
                    Diagnostic::new(Code::LocalWithPool, pool.span, message)
                        .note(mode.span, "the mode is given here")
                        .help("leave out the pool, or choose another mode"),
                );
            }
            return Some(Action::Local);
        }
        let Some(name) = &section.pool else {
            if section.is_wrong("pool") {
                return None;
            }
            self.out.push(
                Diagnostic::new(
                    Code::PoolMissing,
                    mode.span,
                    format!("mode {} needs a pool", mode.name()),
                )
                .expected("pool = \"…\""),
            );
            return None;
        };
        View::known(&self.pool_names, name, Code::UnknownPool, "pool", self.out)?;
        if let Some(pool) = pools.get(&name.0) {
            self.check_family(section, mode, pool, vip);
            self.check_rewrite(section, mode, pool);
            self.check_reach(section, mode, pool);
        }
        let pool = name.0.clone();
        Some(match mode.value {
            Mode::L2Dsr => Action::L2Dsr { pool },
            Mode::IpipDsr => Action::IpipDsr { pool },
            Mode::GueDsr => Action::GueDsr { pool },
            Mode::Dnat => Action::Dnat { pool },
            Mode::FullNat => Action::FullNat { pool, snat: snat? },
            Mode::Local => Action::Local,
        })
    }

    fn server_snat(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        vip: Option<IpAddr>,
    ) -> Option<Snat> {
        match (&section.snat, mode.value) {
            (Some(name), Mode::FullNat) => {
                let snat = self.snat(name)?;
                if let Some(vip) = vip {
                    self.check_snat_family(&snat, vip, name.span);
                }
                Some(snat)
            }
            (None, Mode::FullNat) if section.is_wrong("snat") => None,
            (None, Mode::FullNat) => {
                self.out.push(
                    Diagnostic::new(Code::SnatMissing, mode.span, "full-nat needs snat")
                        .expected("snat = \"automap\", or the name of a SNAT pool"),
                );
                None
            }
            (Some(name), other) => {
                let message = format!("mode {} does not change the source address", other.name());
                self.out.push(
                    Diagnostic::new(Code::SnatWithoutFullNat, name.span, message)
                        .note(mode.span, "the mode is given here")
                        .help("leave out snat, or write mode = \"full-nat\""),
                );
                None
            }
            (None, _) => None,
        }
    }

    fn check_family(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
        vip: Option<IpAddr>,
    ) {
        let Some(vip) = vip else { return };
        let other = if vip.is_ipv4() { pool.ipv6 } else { pool.ipv4 };
        if matches!(mode.value, Mode::IpipDsr | Mode::GueDsr) {
            return;
        }
        if let (Some(backend), Some(address)) = (other, &section.address) {
            let message = format!(
                "the VIP is {}, the backend {} is {}",
                family(vip),
                backend.value,
                family(backend.value)
            );
            self.out.push(
                Diagnostic::new(Code::FamilyMix, address.span, message)
                    .note(backend.span, "the backend is here")
                    .help("only the tunnel modes, ipip-dsr and gue-dsr, carry one in the other"),
            );
        }
    }

    fn check_rewrite(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
    ) {
        let Some(port) = &section.port else { return };
        let rewrites = matches!(mode.value, Mode::Dnat | Mode::FullNat);
        for given in &pool.ports {
            let diagnostic = match port.value {
                ServicePort::Any => Diagnostic::new(
                    Code::BackendPortForAnyPort,
                    given.span,
                    format!(
                        "the backend's port is {given}, but a virtual server takes every port",
                        given = given.value
                    ),
                )
                .help("leave out the backend's port: every packet keeps its own"),
                ServicePort::One(port) if !rewrites && given.value != port => Diagnostic::new(
                    Code::PortRewrite,
                    given.span,
                    format!(
                        "mode {} can't change port {port} to {}",
                        mode.name(),
                        given.value
                    ),
                )
                .help("leave out the backend's port, or choose dnat or full-nat"),
                ServicePort::One(_) => continue,
            };
            self.out
                .push(diagnostic.note(port.span, "the virtual server's port is given here"));
            return;
        }
    }

    /// What only the interfaces' addresses can tell.
    fn check_reach(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
    ) {
        if mode.value == Mode::L2Dsr
            && let Some(backend) = pool.off_link
        {
            let message = format!("l2-dsr can't reach {} behind a router", backend.value);
            self.out.push(
                Diagnostic::new(Code::BackendNotOnLink, backend.span, message)
                    .note(mode.span, "the mode is given here")
                    .help("a tunnel mode, ipip-dsr or gue-dsr, crosses routers"),
            );
        }
        let needs_source = matches!(mode.value, Mode::IpipDsr | Mode::GueDsr)
            || section
                .snat
                .as_ref()
                .is_some_and(|snat| snat.0 == "automap");
        // A VIP that each node has its own of does not move anyway.
        let moves =
            matches!(&section.address, Some(address) if matches!(address.value, PerNode::Same(_)));
        if mode.value == Mode::FullNat
            && moves
            && self.document.pair.is_some()
            && let Some(snat) = section.snat.as_ref().filter(|snat| snat.0 == "automap")
            && let Some(backend) = pool.not_floating
        {
            let message = format!(
                "the source address towards {} is this node's own: a takeover ends these connections",
                backend.value
            );
            self.out.push(
                Diagnostic::new(Code::AutomapNotFloating, snat.span, message)
                    .note(backend.span, "the backend is here"),
            );
        }
        if needs_source
            && mode.value != Mode::L2Dsr
            && let Some(backend) = pool.no_source
        {
            let message = format!(
                "the interface towards {} has no {} address to send from",
                backend.value,
                family(backend.value)
            );
            self.out.push(
                Diagnostic::new(Code::NoWayOut, mode.span, message)
                    .note(backend.span, "the backend is here"),
            );
        }
    }
}
