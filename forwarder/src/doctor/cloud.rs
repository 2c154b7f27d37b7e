//! What the cloud has to have: addresses, limits, and the check of sources and destinations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Severity};
use crate::config::Model;
use crate::config::instance_type::{built_in, exceeded};
use crate::config::model::{Action, Interface};
use crate::io::cloud::inspect::{Instance, NetworkInterface};

/// What the cloud says of an instance, or why it says nothing.
pub type Said = Result<Instance, String>;

/// Everything there is to say. `macs`: MAC addresses by devices' names.
pub fn findings(
    model: Option<&Model>,
    macs: &BTreeMap<String, String>,
    said: &Said,
) -> Vec<Finding> {
    let instance = match said {
        Ok(instance) => instance,
        Err(why) => {
            let text = format!("what only the cloud knows is not checked: {why}");
            return vec![Finding::new(Severity::Note, "cloud", "cloud", text)];
        }
    };
    let mut all = Vec::new();
    if let Some(why) = &instance.silent {
        let text = format!("the API tells nothing, and what only it knows is not checked: {why}");
        all.push(Finding::new(Severity::Note, "cloud", "cloud", text));
    }
    let of_device = |device: &str| {
        let mac = macs.get(device)?;
        Some((mac.as_str(), instance.interfaces.get(mac)))
    };
    let Some(model) = model else {
        for device in macs.keys() {
            if let Some((_, Some(found))) = of_device(device) {
                all.extend(check(device, found, &BTreeSet::new()));
            }
        }
        return all;
    };
    let needs = needs_no_check(model);
    for interface in &model.interfaces {
        let device = &interface.device;
        match of_device(device) {
            None if interface.moves => {
                let text = "it is not here now: it comes when this node is active".to_owned();
                let code = "cloud-interface";
                all.push(Finding::new(Severity::Note, device, code, text));
            }
            None => (),
            Some((mac, None)) => {
                let text =
                    format!("this instance has no network interface with its MAC address, {mac}");
                all.push(Finding::new(
                    Severity::Error,
                    device,
                    "cloud-interface",
                    text,
                ));
            }
            Some((_, Some(found))) => {
                let why = needs
                    .get(interface.name.as_str())
                    .cloned()
                    .unwrap_or_default();
                all.extend(check(device, found, &why));
                all.extend(addresses(model, interface, found));
            }
        }
    }
    all.extend(limits(model, instance));
    all
}

/// Interfaces by which packets leave or come that are not from or to an address of theirs, and why.
fn needs_no_check<'m>(model: &'m Model) -> BTreeMap<&'m str, BTreeSet<String>> {
    let mut needs: BTreeMap<&'m str, BTreeSet<String>> = BTreeMap::new();
    let mut add = |interfaces: Vec<&'m Interface>, why: String| {
        for interface in interfaces {
            let needs = needs.entry(interface.name.as_str()).or_default();
            needs.insert(why.clone());
        }
    };
    let towards = |address| -> Vec<&'m Interface> {
        let near = model
            .interfaces
            .iter()
            .filter(|each| each.is_on_link(address));
        let near: Vec<_> = near.collect();
        // Behind a router: by any.
        if near.is_empty() {
            model.interfaces.iter().collect()
        } else {
            near
        }
    };
    let named = |name: &str| -> Vec<&'m Interface> {
        model
            .interfaces
            .iter()
            .filter(|each| each.name == name)
            .collect()
    };
    for server in &model.virtual_servers {
        let (Action::Dnat { pool } | Action::L2Dsr { pool }) = &server.action else {
            continue;
        };
        let pool = model.pools.iter().filter(|each| each.name == *pool);
        for backend in pool.flat_map(|pool| &pool.backends) {
            let by = match &backend.interface {
                Some(name) => named(name),
                None => towards(backend.address),
            };
            add(
                by,
                format!("{} of {}", server.action.mode().name(), server.name),
            );
        }
    }
    for rule in &model.egress {
        let mut by = towards(rule.source.address());
        by.retain(|each| each.name != rule.interface);
        add(by, format!("egress of {}", rule.source));
    }
    for route in model.cloud.iter().flat_map(|cloud| &cloud.routes) {
        add(
            named(&route.interface),
            format!("the route to {}", route.destination),
        );
    }
    needs
}

/// The check of sources and destinations.
fn check(device: &str, found: &NetworkInterface, why: &BTreeSet<String>) -> Option<Finding> {
    let id = &found.id;
    let needed = !why.is_empty();
    let why = why
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let say = |severity, text: String| Finding::new(severity, device, "source-dest-check", text);
    let off = format!(
        "aws ec2 modify-network-interface-attribute --network-interface-id {id} --no-source-dest-check"
    );
    Some(match (found.checks, needed) {
        (Some(true), true) => {
            let text = format!(
                "{id} drops packets that are not from or to its addresses, which {why} has"
            );
            say(Severity::Error, text).fix([off])
        }
        (None, true) => {
            let text = format!("it has to be off for {why}; see it with the command");
            let see = format!(
                "aws ec2 describe-network-interfaces --network-interface-ids {id} --query 'NetworkInterfaces[].SourceDestCheck'"
            );
            say(Severity::Note, text).fix([see])
        }
        (Some(true), false) => say(
            Severity::Ok,
            format!("on at {id}: nothing of the file needs it off"),
        ),
        (Some(false), _) => say(Severity::Ok, format!("off at {id}")),
        (None, false) => return None,
    })
}

/// Whether the network interface has what the file wants there.
fn addresses(model: &Model, interface: &Interface, found: &NetworkInterface) -> Vec<Finding> {
    let (device, id) = (&interface.device, &found.id);
    let say = |severity, text: String| Finding::new(severity, device, "cloud-address", text);
    let mut all = Vec::new();
    let placed = model.placed().into_iter();
    for each in placed.filter(|each| each.interface == interface.name) {
        let address = each.address;
        let what = if address.is_ipv4() {
            "private-ip"
        } else {
            "ipv6"
        };
        let kind = if address.is_ipv4() {
            "assign-private-ip-addresses"
        } else {
            "assign-ipv6-addresses"
        };
        let assign =
            format!("aws ec2 {kind} --network-interface-id {id} --{what}-addresses {address}");
        let primary = address.is_ipv4() && found.addresses.first() == Some(&address);
        if primary && !interface.moves {
            let text = format!("{address} is the primary address of {id}, which can't move");
            let severity = if each.moves {
                Severity::Error
            } else {
                Severity::Warning
            };
            all.push(say(severity, text));
        } else if found.has(address) {
            all.push(say(Severity::Ok, format!("{id} has {address}")));
        } else if each.moves {
            let text =
                format!("{id} does not have {address} now: it comes when this node is active");
            all.push(say(Severity::Note, text));
        } else {
            // It may have to be at the other node; but what is at a network interface that moves stays there.
            let severity = if model.pair.is_some() && !interface.moves {
                Severity::Warning
            } else {
                Severity::Error
            };
            let text =
                format!("{id} does not have {address}: nothing that is sent there comes here");
            all.push(say(severity, text).fix([assign]));
        }
    }
    all
}

fn limits(model: &Model, instance: &Instance) -> Vec<Finding> {
    let of = &instance.of;
    let say = |severity, text: String| Finding::new(severity, "cloud", "cloud-limit", text);
    let Some(limits) = instance.limits.or_else(|| built_in(of)) else {
        return vec![say(
            Severity::Note,
            format!("how much {of} may have is not known"),
        )];
    };
    let wrong = exceeded(model, of, &limits);
    if wrong.is_empty() {
        let text = format!(
            "{of}: {} interfaces with {} addresses each are enough",
            limits.interfaces, limits.ipv4
        );
        return vec![say(Severity::Ok, text)];
    }
    let wrong = wrong.into_iter();
    wrong.map(|text| say(Severity::Error, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::instance_type::InstanceLimits;

    const CONFIG: &str = r#"
version = 1

[[interface]]
name = "outside"
device = "eth0"
address = "10.0.1.4/24"
gateway = "10.0.1.1"

[[interface]]
name = "inside"
device = "eth1"
address = "10.0.2.4/24"

[[virtual_server]]
name = "web"
address = "10.0.1.10"
port = 80
mode = "dnat"
pool = "web"

[[virtual_server]]
name = "primary"
address = "10.0.1.5"
port = 80
mode = "full-nat"
snat = "out"
pool = "web"

[[pool]]
name = "web"
backend = [{ address = "10.0.2.21" }]

[[snat_pool]]
name = "out"
addresses = ["10.0.2.40"]
interface = "inside"
"#;

    const MOVING: &str = r#"
version = 1
hash_key = "00112233445566778899aabbccddeeff"
node = [{ name = "lb1" }, { name = "lb2" }]

[pair]
key_file = "/key"
path = [{ address = { lb1 = "10.0.8.4", lb2 = "10.0.8.5" } }, { address = { lb1 = "10.0.9.4", lb2 = "10.0.9.5" } }]

[[interface]]
name = "inside"
device = "eth1"
address = { lb1 = "10.0.2.4/24", lb2 = "10.0.2.5/24" }

[[interface]]
name = "partner"
device = "eth3"
address = "10.0.3.4/24"

[[cloud.interface]]
id = "eni-9"
interface = "partner"
device_index = 2

[[virtual_server]]
name = "web"
address = "10.0.3.10"
port = 80
mode = "dnat"
pool = "web"
interfaces = ["partner"]

[[pool]]
name = "web"
backend = [{ address = "10.0.2.21" }]
"#;

    fn model(more: &str) -> Model {
        let config = config::parse("test", &format!("{CONFIG}{more}"));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        config.for_node(None).expect("a node of its own")
    }

    fn said() -> Instance {
        let interface = |id: &str, addresses: &[&str], prefixes: &[(&str, u8)]| NetworkInterface {
            id: id.to_owned(),
            addresses: addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            prefixes: prefixes
                .iter()
                .filter_map(|(text, length)| config::Prefix::of(text.parse().ok()?, *length))
                .collect(),
            checks: Some(true),
        };
        Instance {
            of: "t3.medium".to_owned(),
            interfaces: [
                ("mac0", interface("eni-0", &["10.0.1.5", "10.0.1.4"], &[])),
                (
                    "mac1",
                    interface("eni-1", &["10.0.2.4"], &[("10.0.2.32", 28)]),
                ),
            ]
            .map(|(mac, each)| (mac.to_owned(), each))
            .into(),
            limits: None,
            silent: None,
        }
    }

    fn judged(model: &Model, said: Said) -> Vec<String> {
        let macs = [("eth0", "mac0"), ("eth1", "mac1")];
        let macs = macs.map(|(device, mac)| (device.to_owned(), mac.to_owned()));
        let all = findings(Some(model), &macs.into(), &said);
        let all = all.into_iter();
        all.map(|each| {
            format!(
                "{} {} {}: {}",
                each.severity, each.subject, each.code, each.message
            )
        })
        .collect()
    }

    #[test]
    fn what_the_cloud_has_is_held_against_the_file() {
        assert_eq!(
            judged(&model(""), Ok(said())),
            [
                "ok eth0 source-dest-check: on at eni-0: nothing of the file needs it off",
                "ERROR eth0 cloud-address: eni-0 does not have 10.0.1.10: nothing that is sent there comes here",
                "WARNING eth0 cloud-address: 10.0.1.5 is the primary address of eni-0, which can't move",
                "ERROR eth1 source-dest-check: eni-1 drops packets that are not from or to its addresses, which dnat of web has",
                "ok eth1 cloud-address: eni-1 has 10.0.2.40",
                "ok cloud cloud-limit: t3.medium: 3 interfaces with 6 addresses each are enough",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let silence = judged(&model(""), Err("no route".to_owned()));
        assert_eq!(
            silence,
            ["note cloud cloud: what only the cloud knows is not checked: no route"]
        );
        let mut elsewhere = said();
        elsewhere.interfaces.clear();
        elsewhere.of = "x9.huge".to_owned();
        let found = judged(&model(""), Ok(elsewhere));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("ERROR eth0 cloud-interface"),
            "{found:?}"
        );
        assert!(
            found[2].contains("x9.huge may have is not known"),
            "{found:?}"
        );
    }

    /// What is at it is there for good, the primary address too; where it is not, nothing is missed.
    #[test]
    fn a_network_interface_that_moves_is_not_missed() {
        let config = config::parse("test", MOVING).unwrap_or_else(|error| panic!("{error}"));
        let model = config.for_node(Some("lb1")).expect("a node");
        let findings = |devices: &[(&str, &str)], own: &[&str]| {
            let macs = devices
                .iter()
                .map(|(device, mac)| ((*device).to_owned(), (*mac).to_owned()));
            let mut said = said();
            let addresses = own.iter().filter_map(|text| text.parse().ok()).collect();
            let mut moving = said.interfaces["mac0"].clone();
            (moving.id, moving.addresses) = ("eni-9".to_owned(), addresses);
            said.interfaces.insert("mac9".to_owned(), moving);
            let all = findings(Some(&model), &macs.collect(), &Ok(said));
            let about = all
                .into_iter()
                .filter(|each| each.subject == "eth3" && each.code.starts_with("cloud-"));
            about
                .map(|each| format!("{} {}", each.severity, each.message))
                .collect::<Vec<_>>()
        };
        let there = [("eth3", "mac9")];
        assert_eq!(
            findings(&[], &[]),
            ["note it is not here now: it comes when this node is active"]
        );
        assert_eq!(
            findings(&there, &["10.0.3.4", "10.0.3.10"]),
            ["ok eni-9 has 10.0.3.10"]
        );
        assert_eq!(
            findings(&there, &["10.0.3.10"]),
            ["ok eni-9 has 10.0.3.10"],
            "its primary address moves too"
        );
        assert_eq!(
            findings(&there, &["10.0.3.4"]),
            ["ERROR eni-9 does not have 10.0.3.10: nothing that is sent there comes here"]
        );
        // It may come, and there has to be room for it.
        let mut small = said();
        small.limits = built_in("t3.medium").map(|limits| InstanceLimits {
            interfaces: 1,
            ..limits
        });
        let all = limits(&model, &small);
        assert_eq!(
            all[0].message,
            "there are 2 interfaces, and t3.medium may have 1"
        );
    }

    #[test]
    fn routes_and_egress_need_packets_of_others() {
        let more = "[[egress]]\nsource = \"10.0.2.0/24\"\ninterface = \"outside\"\n\
             [cloud]\n[[cloud.route]]\ntable = \"rtb-1\"\ndestination = \"0.0.0.0/0\"\ninterface = \"outside\"\n";
        let model = model(more);
        let needs = needs_no_check(&model);
        let why = |name: &str| needs[name].iter().cloned().collect::<Vec<_>>().join(", ");
        assert_eq!(why("outside"), "the route to 0.0.0.0/0");
        assert_eq!(why("inside"), "dnat of web, egress of 10.0.2.0/24");
    }
}
