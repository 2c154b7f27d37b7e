//! Cases whose outcome is written by hand, not taken from the model (the model has to agree too).

mod answers;
mod choice;
mod decapsulator;
mod drops;
mod dsr;
mod flows;
mod jumbo;
mod last_drop;
mod memory;
mod passes;
mod peer;

use anyhow::Result;
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Outcome, Reason};
use forwarder_model::build::Packet;
use forwarder_model::{Output, Tables};

use crate::harness::{Harness, hex};
use crate::namespace::in_namespace;
use crate::scene;

/// What has to come out.
enum Expected {
    /// The frame untouched, or nothing: the reason says which.
    Kept(Reason),
    /// This frame, by this interface.
    Sent(Reason, u32, Vec<u8>),
}

/// A bench of cases that run one after the other on the same flows.
struct Bench {
    harness: Harness,
}

impl Bench {
    fn run(body: impl FnOnce(&mut Self) -> Result<()> + Send) {
        Self::run_on(ProgramSet::Linear, scene::tables(), body);
    }

    /// As [`Self::run`], with other programs and another configuration.
    fn run_on(set: ProgramSet, tables: Tables, body: impl FnOnce(&mut Self) -> Result<()> + Send) {
        in_namespace(|| {
            let mut bench = Self {
                harness: Harness::new(tables, set)?,
            };
            body(&mut bench)?;
            bench.harness.settle()
        });
    }

    fn check(&mut self, name: &str, ifindex: u32, frame: &[u8], expected: Expected) -> Result<()> {
        let output = self.harness.same(name, ifindex, frame)?;
        let (reason, out) = match &expected {
            Expected::Kept(reason) => (*reason, frame.to_vec()),
            Expected::Sent(reason, _, out) => (*reason, out.clone()),
        };
        let action = match (&expected, reason.outcome()) {
            (Expected::Sent(_, egress, _), _) if *egress == ifindex && ifindex != scene::SERVER => {
                forwarder_model::Action::Tx
            }
            (Expected::Sent(_, egress, _), _) => forwarder_model::Action::Redirect(*egress),
            (_, Outcome::Pass) => forwarder_model::Action::Pass,
            _ => forwarder_model::Action::Drop,
        };
        assert_eq!(
            output.reason.map(Reason::name),
            Some(reason.name()),
            "{name}"
        );
        assert_eq!(hex(&output.frame), hex(&out), "{name}");
        assert_eq!(output.action, action, "{name}");
        Ok(())
    }

    /// Program and model agree about the packet; what they say.
    fn send(&mut self, ifindex: u32, packet: &Packet) -> Result<Output> {
        self.harness
            .same("packet", ifindex, &at(ifindex, packet).frame())
    }

    /// The packet ends in this reason, untouched.
    fn kept(&mut self, name: &str, ifindex: u32, packet: &Packet, reason: Reason) -> Result<()> {
        self.check(
            name,
            ifindex,
            &at(ifindex, packet).frame(),
            Expected::Kept(reason),
        )
    }

    /// The packet becomes another one.
    fn sent(
        &mut self,
        name: &str,
        ifindex: u32,
        packet: &Packet,
        reason: Reason,
        out: (u32, Packet),
    ) -> Result<()> {
        let out = Expected::Sent(reason, out.0, out.1.frame());
        self.check(name, ifindex, &at(ifindex, packet).frame(), out)
    }
}

/// The packet as it comes in by an interface: to its MAC, unless another was given.
fn at(ifindex: u32, packet: &Packet) -> Packet {
    let default = Packet::udp((packet.source, 0), (packet.destination, 0), &[]).destination_mac;
    let mut packet = packet.clone();
    if packet.destination_mac == default {
        packet.destination_mac = scene::mac(ifindex);
    }
    packet
}

/// The packet as it leaves towards a backend.
fn towards(backend: u32, egress: u32, packet: &Packet) -> Packet {
    Packet {
        destination_mac: scene::backend_mac(backend),
        source_mac: scene::mac(egress),
        ..packet.clone()
    }
}

/// Client addresses of both families.
fn client(family: u8) -> std::net::IpAddr {
    scene::address(if family == 6 {
        "2001:db8:c::77"
    } else {
        "198.51.100.77"
    })
}

/// Address of a backend: `number` 1–8 of a family.
fn backend(family: u8, number: u8) -> std::net::IpAddr {
    if family == 6 {
        scene::address(&format!("2001:db8:5::{:x}", 0x10 + number))
    } else {
        scene::address(&format!("10.0.0.{}", 10 + number))
    }
}

const FAMILIES: [u8; 2] = [4, 6];
