//! The commands for Windows, as a PowerShell script.

use std::fmt::Write as _;

use forwarder_common::Mode;

use super::needs::{Needs, Service};
use crate::config::model::ServicePort;

const HEAD: &str = r#"# What Windows backends need, from FILE.
# Run it on a backend as administrator; running it again changes nothing.
$ErrorActionPreference = 'Stop'
function Get-Nic($addresses) {
    (Get-NetIPAddress | Where-Object { $addresses -contains $_.IPAddress } | Select-Object -First 1).InterfaceAlias
}
function Set-Vip($address, $length) {
    $loopback = 'Loopback Pseudo-Interface 1'
    Get-NetIPAddress -IPAddress $address -ErrorAction SilentlyContinue |
        Where-Object { $_.InterfaceAlias -ne $loopback -or $_.PrefixLength -ne $length } |
        Remove-NetIPAddress -Confirm:$false
    if (-not (Get-NetIPAddress -IPAddress $address -ErrorAction SilentlyContinue)) {
        New-NetIPAddress -InterfaceAlias $loopback -IPAddress $address -PrefixLength $length -SkipAsSource $true | Out-Null
    }
}
function Set-WeakHost($nic, $family) {
    Set-NetIPInterface -InterfaceAlias $nic -AddressFamily $family -WeakHostReceive Enabled
    Set-NetIPInterface -InterfaceAlias 'Loopback Pseudo-Interface 1' -AddressFamily $family -WeakHostReceive Enabled -WeakHostSend Enabled
}
function Set-Rule($name, $protocol, $address, $port) {
    Remove-NetFirewallRule -DisplayName $name -ErrorAction SilentlyContinue
    New-NetFirewallRule -DisplayName $name -Direction Inbound -Action Allow -Protocol $protocol -LocalAddress $address -LocalPort $port | Out-Null
}
"#;

/// A script that sets what each backend needs, on the backend that it is run on.
pub fn script(file: &str, all: &[Needs]) -> String {
    let mut text = HEAD.replace("FILE", file);
    for needs in all {
        section(&mut text, needs);
    }
    text
}

fn section(text: &mut String, needs: &Needs) {
    let names: Vec<_> = needs.names.iter().map(String::as_str).collect();
    let _ = writeln!(text, "\n# {}: {}", needs.address, names.join(", "));
    let _ = writeln!(text, "$nic = Get-Nic @('{}')\nif ($nic) {{", needs.address);
    if needs.tunnelled().next().is_some() {
        let _ = writeln!(
            text,
            "    # Windows takes nothing out of IPIP or GUE tunnels: use full-nat, dnat or l2-dsr for its virtual servers."
        );
    }
    let plain =
        |service: &&Service| matches!(service.mode, Mode::L2Dsr | Mode::Dnat | Mode::FullNat);
    let direct = || needs.direct().filter(plain);
    for (family, ipv6) in [("IPv4", false), ("IPv6", true)] {
        if direct().any(|service| service.vip.is_ipv6() == ipv6) {
            let _ = writeln!(text, "    Set-WeakHost $nic {family}");
        }
    }
    let mut vips: Vec<_> = direct().map(|service| service.vip).collect();
    vips.sort();
    vips.dedup();
    for vip in vips {
        let whole = if vip.is_ipv4() { 32 } else { 128 };
        let _ = writeln!(text, "    Set-Vip '{vip}' {whole}");
    }
    for service in needs.services.iter().filter(plain) {
        let port = match service.port {
            ServicePort::One(port) => port.to_string(),
            ServicePort::Any => "Any".to_owned(),
        };
        let _ = writeln!(
            text,
            "    Set-Rule 'forwarder {}' {} '{}' {port}",
            service.virtual_server,
            service.protocol.to_string().to_uppercase(),
            service.address
        );
    }
    if needs.has(Mode::Dnat) {
        let gateways: Vec<_> = needs.gateways.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "    # Replies of dnat go back through the forwarder ({}): Set-NetRoute or New-NetRoute, by hand.",
            if gateways.is_empty() {
                "its own address".to_owned()
            } else {
                gateways.join(" or ")
            }
        );
    }
    let _ = writeln!(text, "}}");
}
