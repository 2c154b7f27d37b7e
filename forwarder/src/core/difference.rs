//! What differs between two models, in the words of the file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::config::Model;
use crate::config::model::{Backend, Egress, Pool, ProbePort};

/// What becomes of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It stays, otherwise.
    Changed,
}

impl Change {
    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Change::Added => "add",
            Change::Removed => "remove",
            Change::Changed => "change",
        }
    }
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What becomes of it.
    pub change: Change,
    /// What kind of thing.
    pub kind: &'static str,
    /// Its name; a backend's with its pool's in front.
    pub name: String,
    /// For a changed one, each key: old and new value.
    pub details: Vec<String>,
}

/// Every difference, kind by kind: first what is removed, then what is new or changed.
pub fn difference(old: &Model, new: &Model) -> Vec<Difference> {
    let mut list = Vec::new();
    compare("settings", &settings(old), &settings(new), &mut list);
    macro_rules! named {
        ($kind:literal, $field:ident) => {
            compare(
                $kind,
                &things(&old.$field, |each| each.name.clone()),
                &things(&new.$field, |each| each.name.clone()),
                &mut list,
            )
        };
    }
    named!("interface", interfaces);
    named!("health check", health_checks);
    named!("SNAT pool", snat_pools);
    compare("pool", &pools(old), &pools(new), &mut list);
    compare("backend", &backends(old), &backends(new), &mut list);
    named!("virtual server", virtual_servers);
    let source = |rule: &Egress| rule.source.to_string();
    let rules = (things(&old.egress, source), things(&new.egress, source));
    compare("egress", &rules.0, &rules.1, &mut list);
    let port = |probe: &ProbePort| format!("port {}", probe.port);
    let probes = (things(&old.probes, port), things(&new.probes, port));
    compare("probe", &probes.0, &probes.1, &mut list);
    list
}

/// What differs between two states of one backend of a pool.
pub fn of_backend(pool: &str, old: &Backend, new: &Backend) -> Vec<Difference> {
    let thing = |backend| {
        let name = backend_name(pool, backend);
        [(name, backend)]
    };
    let mut list = Vec::new();
    compare("backend", &thing(old), &thing(new), &mut list);
    list
}

fn backend_name(pool: &str, backend: &Backend) -> String {
    format!("{pool}/{}", backend.name)
}

/// Things with their names.
type Things<T> = Vec<(String, T)>;

fn things<T>(list: &[T], name: impl Fn(&T) -> String) -> Things<&T> {
    list.iter().map(|each| (name(each), each)).collect()
}

fn settings(model: &Model) -> Things<Value> {
    let value = serde_json::json!({
        "node": model.node.as_ref().map(|node| &node.name),
        "pair": model.pair,
        "limits": model.limits,
        "tunnel.gue_port": model.gue_port,
        "automap.ports": model.automap_ports.all.to_string(),
        "admin.group": model.admin.group,
        "admin.read_group": model.admin.read_group,
        "metrics.listen": model.metrics,
        "routes.table": model.route_table,
        "hooks": model.hooks,
        "cloud": model.cloud,
    });
    vec![("of the file".to_owned(), value)]
}

fn pools(model: &Model) -> Things<Value> {
    let of = |pool: &Pool| {
        let slow_start = pool.slow_start;
        let value = serde_json::json!({ "health_check": pool.health_check, "slow_start": slow_start, "when_down": pool.when_down });
        (pool.name.clone(), value)
    };
    model.pools.iter().map(of).collect()
}

fn backends(model: &Model) -> Things<&Backend> {
    let mut list = Vec::new();
    for pool in &model.pools {
        list.extend(things(&pool.backends, |each| {
            backend_name(&pool.name, each)
        }));
    }
    list
}

fn compare<T: PartialEq + Serialize>(
    kind: &'static str,
    old: &[(String, T)],
    new: &[(String, T)],
    list: &mut Vec<Difference>,
) {
    // Most often little differs, and nothing is written out that does not.
    if old == new {
        return;
    }
    let new_names: BTreeSet<&str> = new.iter().map(|(name, _)| name.as_str()).collect();
    let old_by_name: BTreeMap<&str, &T> = old
        .iter()
        .map(|(name, thing)| (name.as_str(), thing))
        .collect();
    let mut push = |change, name: &String, details| {
        list.push(Difference {
            change,
            kind,
            name: name.clone(),
            details,
        });
    };
    for (name, _) in old
        .iter()
        .filter(|(name, _)| !new_names.contains(name.as_str()))
    {
        push(Change::Removed, name, Vec::new());
    }
    let value = |thing: &T| serde_json::to_value(thing).unwrap_or_default();
    for (name, thing) in new {
        match old_by_name.get(name.as_str()) {
            None => push(Change::Added, name, Vec::new()),
            Some(before) if *before != thing => {
                // What the file does not say may differ too.
                let (before, after) = (value(before), value(thing));
                if before != after {
                    push(Change::Changed, name, details(&before, &after));
                }
            }
            Some(_) => (),
        }
    }
}

fn details(old: &Value, new: &Value) -> Vec<String> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return vec![format!("{old} -> {new}")];
    };
    let absent = Value::Null;
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|key| {
            let before = old.get(key).unwrap_or(&absent);
            let after = new.get(key).unwrap_or(&absent);
            (before != after).then(|| format!("{key}: {} -> {}", text(before), text(after)))
        })
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::BackendState;
    use crate::core::compile::example;

    fn shown(old: &Model, new: &Model) -> Vec<String> {
        let lines = difference(old, new).into_iter().map(|each| {
            let Difference {
                change,
                kind,
                name,
                details,
            } = each;
            format!("{} {kind} {name} {}", change.word(), details.join(", "))
        });
        lines.collect()
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        assert_eq!(shown(&example(), &example()), [""; 0]);
    }

    #[test]
    fn every_kind_of_thing_is_compared() {
        let old = example();
        let mut new = old.clone();
        new.pools[0].backends[0].weight = 9;
        new.pools[0].backends[0].state = BackendState::Drained;
        let gone = new.virtual_servers.remove(0).name;
        new.limits.flows += 1;
        new.interfaces[0].name = "else".to_owned();
        let shown = shown(&old, &new);
        let has = |part: &str| shown.iter().any(|line| line.contains(part));
        assert!(has(&format!("remove virtual server {gone}")), "{shown:?}");
        assert!(has("state: enabled -> drained, weight: "), "{shown:?}");
        assert!(has("change settings of the file limits: "), "{shown:?}");
        assert!(
            has("add interface else") && has("remove interface "),
            "{shown:?}"
        );
        assert_eq!(shown.len(), 5, "{shown:?}");
        let nothing = Model {
            virtual_servers: vec![],
            pools: vec![],
            snat_pools: vec![],
            egress: vec![],
            health_checks: vec![],
            interfaces: vec![],
            ..old.clone()
        };
        for kind in [
            "virtual server",
            "pool",
            "backend",
            "SNAT pool",
            "egress",
            "interface",
        ] {
            let all = difference(&old, &nothing);
            assert!(
                all.iter()
                    .any(|each| each.kind == kind && each.change == Change::Removed),
                "{kind}"
            );
        }
    }
}
