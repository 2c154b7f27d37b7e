//! Which changes of the configuration a running daemon can make.

use std::collections::BTreeSet;

use forwarder_common::hash::HashKey;

use crate::config::Model;
use crate::config::model::{Pair, Partition};

/// What cannot change under way, because the maps or programs were made with it; empty: all can.
pub fn needs_restart(old: &Model, new: &Model, running_key: HashKey) -> Vec<&'static str> {
    let mut needs = Vec::new();
    if old.limits != new.limits {
        needs.push("limits");
    }
    let fixed = |model: &Model| model.pair.as_ref().map(Pair::fixed);
    if fixed(old) != fixed(new) {
        needs.push("pair");
    } else if prefers_otherwise(old, new) {
        needs.push("pair.priority");
    }
    if old.gue_port != new.gue_port {
        needs.push("tunnel.gue_port");
    }
    if old.admin != new.admin {
        needs.push("admin");
    }
    if old.route_table != new.route_table {
        needs.push("routes.table");
    }
    if old.cloud.is_some() != new.cloud.is_some() {
        needs.push("cloud");
    }
    if old.metrics != new.metrics {
        needs.push("metrics.listen");
    }
    // Without a key in the file the running one is as good as any.
    if new.hash_key.is_some_and(|key| key != running_key) {
        needs.push("hash_key");
    }
    needs
}

/// Whether another node is to be preferred, where that alone decides who is active when the nodes are cut apart:
/// while only one of them knows, both would be.
fn prefers_otherwise(old: &Model, new: &Model) -> bool {
    let (Some(old), Some(new)) = (&old.pair, &new.pair) else {
        return false;
    };
    let preferred = |id| {
        old.groups
            .iter()
            .find(|group| group.id == id)
            .map(|group| group.preferred)
    };
    old.partition == Partition::Yield
        && new
            .groups
            .iter()
            .any(|group| preferred(group.id).is_some_and(|before| before != group.preferred))
}

/// Devices of `one` that are not of `other`.
pub fn devices_only_in(one: &Model, other: &Model) -> BTreeSet<String> {
    let devices = |model: &Model| -> BTreeSet<String> {
        let devices = model.interfaces.iter();
        devices.map(|interface| interface.device.clone()).collect()
    };
    devices(one).difference(&devices(other)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use super::*;
    use crate::config::model::Group;
    use crate::core::compile::example;

    #[test]
    fn says_what_needs_a_restart() {
        let old = example();
        let key = old.hash_key.expect("a pair's key");
        let none: Vec<&str> = Vec::new();
        assert_eq!(needs_restart(&old, &old, key), none);
        let mut new = old.clone();
        new.hash_key = None;
        assert_eq!(needs_restart(&old, &new, key), none);
        new.hash_key = Some([1, 2]);
        new.limits.flows += 1;
        new.pair = None;
        new.gue_port = new.gue_port.saturating_add(1);
        new.admin.group = Some("netops".to_owned());
        new.metrics = Some(([127, 0, 0, 1], 9477).into());
        let needs = needs_restart(&old, &new, key);
        let all = [
            "limits",
            "pair",
            "tunnel.gue_port",
            "admin",
            "metrics.listen",
            "hash_key",
        ];
        assert_eq!(needs, all);
    }

    #[test]
    fn groups_come_and_go_without_a_restart_but_nobody_else_is_preferred_where_that_decides() {
        let mut old = example();
        let key = old.hash_key.expect("a pair's key");
        let pair = old.pair.get_or_insert_with(pair);
        pair.groups = vec![group("one", 0, true), group("two", 1, false)];
        let mut new = old.clone();
        let changed = new.pair.as_mut().expect("a pair");
        changed.groups = vec![group("three", 0, true), group("two", 1, true)];
        assert_eq!(
            changed.keep_places(&old.pair.as_ref().expect("a pair").groups),
            Some(())
        );
        let places: Vec<u8> = changed.groups.iter().map(|group| group.place).collect();
        assert_eq!(places, [2, 1]);
        changed.preempt = true;
        assert!(needs_restart(&old, &new, key).is_empty());
        for model in [&mut old, &mut new] {
            model.pair.as_mut().expect("a pair").partition = Partition::Yield;
        }
        assert_eq!(needs_restart(&old, &new, key), ["pair.priority"]);
        let changed = new.pair.as_mut().expect("a pair");
        changed.groups[1].preferred = false;
        assert!(needs_restart(&old, &new, key).is_empty());
        let changed = new.pair.as_mut().expect("a pair");
        changed.groups = (0..16)
            .map(|number| group(&number.to_string(), 0, true))
            .collect();
        assert_eq!(changed.keep_places(&[group("one", 0, true)]), None);
    }

    fn group(name: &str, place: u8, preferred: bool) -> Group {
        Group {
            name: name.to_owned(),
            id: Group::id(name),
            place,
            priority: 100,
            preferred,
        }
    }

    fn pair() -> Pair {
        Pair {
            paths: Vec::new(),
            key_file: "/etc/forwarder/pair.key".into(),
            port: NonZeroU16::MIN,
            interval: Duration::from_millis(50),
            multiplier: 3,
            preempt: false,
            failback_delay: Duration::ZERO,
            drain: Duration::ZERO,
            partition: Partition::Stay,
            groups: Vec::new(),
        }
    }

    #[test]
    fn tells_devices_apart() {
        let old = example();
        let mut new = old.clone();
        let gone = std::mem::replace(&mut new.interfaces[0].device, "other".to_owned());
        assert_eq!(devices_only_in(&old, &new), BTreeSet::from([gone]));
        assert_eq!(
            devices_only_in(&new, &old),
            BTreeSet::from(["other".to_owned()])
        );
    }
}
