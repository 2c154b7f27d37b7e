//! What is said about this host's interfaces.

use super::*;

#[test]
fn a_missing_device_is_noted() {
    let model = model();
    let mut facts = facts(&model);
    facts.devices.remove("eth1");
    let outcome = compiled(&model, &facts, &[]);
    let device = Note::NoDevice {
        interface: "inside".to_owned(),
        device: "eth1".to_owned(),
    };
    assert!(outcome.notes.contains(&device), "{:?}", outcome.notes);
    assert!(!outcome.tables.interfaces.contains_key(&3));
}

#[test]
fn a_device_that_is_down_is_noted() {
    let model = model();
    let mut facts = facts(&model);
    let mut noted = |state| {
        let device = facts.devices.get_mut("eth1").expect("the device");
        device.state = state;
        compiled(&model, &facts, &[]).notes
    };
    let (interface, device) = ("inside".to_owned(), "eth1".to_owned());
    assert!(
        !noted(LinkState::Up)
            .iter()
            .any(|note| matches!(note, Note::Down { .. } | Note::NoCarrier { .. }))
    );
    let down = Note::Down {
        interface: interface.clone(),
        device: device.clone(),
    };
    assert!(noted(LinkState::Down).contains(&down));
    let unplugged = Note::NoCarrier { interface, device };
    assert!(noted(LinkState::NoCarrier).contains(&unplugged));
}

/// The kernel tells a route only to an interface that may forward.
#[test]
fn egress_from_an_interface_that_does_not_forward_is_noted() {
    let model = model();
    let noted = |change: &dyn Fn(&mut Facts)| -> Vec<String> {
        let mut facts = facts(&model);
        change(&mut facts);
        let notes = compiled(&model, &facts, &[]).notes;
        let notes = notes.iter().map(ToString::to_string);
        notes.filter(|note| note.contains("sysctl")).collect()
    };
    let set = |facts: &mut Facts, device: &str, forwards| {
        facts.devices.get_mut(device).expect("the device").forwards = forwards;
    };
    assert_eq!(noted(&|_| ()), [""; 0]);
    // The rule is for IPv4, and leaves by eth0.
    let others = |facts: &mut Facts| {
        set(facts, "eth0", [false, false]);
        set(facts, "eth1", [true, false]);
    };
    assert_eq!(noted(&others), [""; 0]);
    assert_eq!(
        noted(&|facts| set(facts, "eth1", [false, true])),
        [
            "egress 10.0.2.0/24: packets that come in by inside pass, the kernel tells eth1 no routes: sysctl -w net.ipv4.conf.eth1.forwarding=1"
        ]
    );
    // The hosts are behind a router, on whichever side.
    let beyond = |forwards: bool| {
        move |facts: &mut Facts| {
            for device in ["eth1", "eth2"] {
                let device = facts.devices.get_mut(device).expect("the device");
                device.addresses.clear();
                device.forwards = [false, false];
            }
            set(facts, "eth2", [forwards, false]);
        }
    };
    assert_eq!(noted(&beyond(true)), [""; 0]);
    assert_eq!(noted(&beyond(false)).len(), 2);
}
