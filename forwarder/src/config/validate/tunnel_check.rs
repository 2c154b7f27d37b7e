//! What is asked through tunnels: every VIP that a pool serves.

use std::net::IpAddr;
use std::num::NonZeroU16;

use forwarder_common::Mode;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Spanned};
use super::super::model::{Encapsulation, ServicePort, TunnelCheck};
use super::super::schema;
use super::super::value::Name;
use super::view::View;

/// A virtual server, as far as its backends' checks go.
pub(super) struct Service<'d> {
    vip: IpAddr,
    port: ServicePort,
    mode: &'d Spanned<Mode>,
    /// `None`: the mode has no tunnel.
    encapsulation: Option<Encapsulation>,
}

impl<'d> View<'d, '_> {
    /// As far as it is without errors.
    pub(super) fn service(&mut self, section: &'d schema::VirtualServer) -> Option<Service<'d>> {
        let mode = section.mode.as_ref()?;
        let encapsulation = match mode.value {
            Mode::IpipDsr => Some(Encapsulation::Ipip),
            Mode::GueDsr => {
                let port = self.document.tunnel.as_ref()?.gue_port.as_ref()?;
                Some(Encapsulation::Gue(port.value))
            }
            _ => None,
        };
        Some(Service {
            vip: self.pick(&section.address)?.value,
            port: section.port.as_ref()?.value,
            mode,
            encapsulation,
        })
    }

    /// Each service once, at the port that is given or at its own. `None`: one has every port.
    pub(super) fn asked(
        &self,
        services: &[Service<'_>],
        has_port: bool,
        given: Option<NonZeroU16>,
    ) -> Option<Vec<TunnelCheck>> {
        let mut asked = Vec::new();
        for service in services {
            let Some(encapsulation) = service.encapsulation else {
                continue;
            };
            let port = match (has_port, given, service.port) {
                (false, ..) => None,
                (true, Some(port), _) | (true, None, ServicePort::One(port)) => Some(port),
                (true, None, ServicePort::Any) => return None,
            };
            let check = TunnelCheck {
                vip: service.vip,
                port,
                encapsulation,
            };
            if !asked.contains(&check) {
                asked.push(check);
            }
        }
        Some(asked)
    }

    /// A tunnel ends at the backend's address.
    pub(super) fn own_address(&mut self, backend: &schema::Backend) {
        if let Some(address) = &backend.check_address {
            let message = "a check through the tunnel goes to the backend's address";
            let diagnostic = Diagnostic::new(Code::KeyNotForType, address.span, message);
            self.out.push(diagnostic.help("leave out check_address"));
        }
    }

    /// All virtual servers of a pool that is checked through the tunnel must have one.
    pub(super) fn without_tunnel(&mut self, check: &Spanned<Name>, services: &[Service<'_>]) {
        let Some(other) = services.iter().find(|each| each.encapsulation.is_none()) else {
            return;
        };
        let message = format!(
            "health check \"{}\" goes through the tunnel, but {} has none",
            check.0,
            other.mode.value.name()
        );
        let note = "a virtual server of this pool has this mode";
        let help = "give that virtual server a pool of its own, with another health check";
        self.out.push(
            Diagnostic::new(Code::CheckWithoutTunnel, check.span, message)
                .note(other.mode.span, note)
                .help(help),
        );
    }
}
