//! Which changes of the configuration a running daemon can make.

use std::collections::BTreeSet;

use forwarder_common::hash::HashKey;

use crate::config::Model;

/// What cannot change under way, because the maps or programs were made with it; empty: all can.
pub fn needs_restart(old: &Model, new: &Model, running_key: HashKey) -> Vec<&'static str> {
    let mut needs = Vec::new();
    if old.limits != new.limits {
        needs.push("limits");
    }
    if old.pair != new.pair {
        needs.push("pair");
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
    use super::*;
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
