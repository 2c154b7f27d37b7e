//! The commands as a shell script, for Linux.

use std::fmt::Write as _;
use std::net::IpAddr;

use forwarder_common::Mode;

use super::needs::Needs;
use super::step::{Step, TunnelEnd, steps};
use crate::config::model::ServicePort;

const HEAD: &str = r#"#!/bin/sh
# What backends need, from FILE.
# Run it on a backend as root, at every boot; on other hosts, and where all is set, it changes nothing.
# `forwarder doctor --backend` with that file checks it.
set -e
device_of() { for address; do ip -oneline address show to "$address"; done | awk 'NR == 1 { print $2 }'; }
mtu_of() { ip -oneline link show dev "$1" | sed 's/.* mtu \([0-9]*\) .*/\1/'; }
"#;

/// A script that sets what each backend needs, on the backend that it is run on.
pub fn script(file: &str, all: &[Needs], end: TunnelEnd) -> String {
    let mut text = HEAD.replace("FILE", file);
    let mut rest: Vec<&Needs> = all.iter().collect();
    while let Some(first) = rest.first().copied() {
        let (alike, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|each| each.is_like(first));
        rest = others;
        section(&mut text, &alike, first, end);
    }
    text
}

fn section(text: &mut String, alike: &[&Needs], needs: &Needs, end: TunnelEnd) {
    let addresses: Vec<_> = alike.iter().map(|each| each.address.to_string()).collect();
    text.push('\n');
    for each in alike {
        let names: Vec<_> = each.names.iter().map(String::as_str).collect();
        let _ = writeln!(text, "# {}: {}", each.address, names.join(", "));
    }
    let _ = writeln!(text, "DEVICE=$(device_of {})", addresses.join(" "));
    let _ = writeln!(text, "if [ -n \"$DEVICE\" ]; then");
    let steps = steps(needs, end);
    if steps
        .iter()
        .any(|step| step.commands.iter().any(|command| command.contains("MTU")))
    {
        let _ = writeln!(text, "    MTU=$(mtu_of \"$DEVICE\")");
    }
    let nothing = steps.iter().all(|step| step.commands.is_empty());
    for step in &steps {
        one(text, step);
    }
    for line in firewall(needs, end) {
        let _ = writeln!(text, "    # {line}");
    }
    if nothing {
        let _ = writeln!(text, "    :");
    }
    let _ = writeln!(text, "fi");
}

fn one(text: &mut String, step: &Step) {
    let by_hand = if step.commands.is_empty() {
        " (not done here)"
    } else {
        ""
    };
    let _ = writeln!(text, "    # {}{by_hand}", step.why);
    for command in &step.commands {
        let _ = writeln!(text, "    {command}");
    }
}

/// What a firewall of the backend must let in, with a command for each of two.
fn firewall(needs: &Needs, end: TunnelEnd) -> Vec<String> {
    let mut lines = vec!["If this host has a firewall, it must let in:".to_owned()];
    if end == TunnelEnd::Kernel {
        if needs.has(Mode::IpipDsr) {
            lines.push("  IP protocols 4 and 41 from the forwarders".into());
        }
        if needs.has(Mode::GueDsr) {
            lines.push(format!(
                "  UDP {} from the forwarders:  ufw allow {}/udp",
                needs.gue_port, needs.gue_port
            ));
        }
    }
    for service in &needs.services {
        let protocol = service.protocol.to_string();
        let family = match service.address {
            IpAddr::V4(_) => "ip",
            IpAddr::V6(_) => "ip6",
        };
        // Backends that are alike differ in their own addresses.
        let (to_ufw, to_nft) = if service.address == service.vip {
            (
                format!(" to {}", service.vip),
                format!("{family} daddr {} ", service.vip),
            )
        } else {
            (String::new(), String::new())
        };
        let to_ufw = if to_ufw.is_empty() {
            " to any".to_owned()
        } else {
            to_ufw
        };
        let (port_ufw, port_nft) = match service.port {
            ServicePort::One(port) => (format!(" port {port}"), format!("{protocol} dport {port}")),
            ServicePort::Any => (String::new(), format!("meta l4proto {protocol}")),
        };
        let line = format!(
            "  {}:  ufw allow proto {protocol}{to_ufw}{port_ufw}  or  nft insert rule inet filter input {to_nft}{port_nft} accept",
            service.virtual_server
        );
        lines.push(line);
    }
    lines
}
