//! What differs between two models, in the words of the file.

use std::borrow::Cow;
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
                &things(&old.$field, |each| each.name.as_str()),
                &things(&new.$field, |each| each.name.as_str()),
                &mut list,
            )
        };
    }
    named!("interface", interfaces);
    named!("health check", health_checks);
    named!("SNAT pool", snat_pools);
    compare("pool", &pools(old), &pools(new), &mut list);
    let lists = (backends(old, new), backends(new, old));
    compare("backend", &lists.0, &lists.1, &mut list);
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
        [(name.into(), backend)]
    };
    let mut list = Vec::new();
    compare("backend", &thing(old), &thing(new), &mut list);
    list
}

fn backend_name(pool: &str, backend: &Backend) -> String {
    format!("{pool}/{}", backend.name)
}

/// Things with their names.
type Things<'a, T> = Vec<(Cow<'a, str>, T)>;

fn things<'a, T, N: Into<Cow<'a, str>>>(
    list: &'a [T],
    name: impl Fn(&'a T) -> N,
) -> Things<'a, &'a T> {
    list.iter().map(|each| (name(each).into(), each)).collect()
}

fn settings(model: &Model) -> Things<'_, Value> {
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
    vec![("of the file".into(), value)]
}

fn pools(model: &Model) -> Things<'_, Value> {
    fn of(pool: &Pool) -> (Cow<'_, str>, Value) {
        let slow_start = pool.slow_start;
        let value = serde_json::json!({ "health_check": pool.health_check, "slow_start": slow_start, "when_down": pool.when_down });
        (pool.name.as_str().into(), value)
    }
    model.pools.iter().map(of).collect()
}

/// Backends, but for pools that have the same in the other model.
fn backends<'a>(model: &'a Model, other: &Model) -> Things<'a, &'a Backend> {
    let mut list = Vec::new();
    let same = |at: usize, pool: &Pool| {
        let other = other.pools.get(at);
        other.is_some_and(|other| (&other.name, &other.backends) == (&pool.name, &pool.backends))
    };
    let pools = model.pools.iter().enumerate();
    for (_, pool) in pools.filter(|(at, pool)| !same(*at, pool)) {
        list.extend(things(&pool.backends, |each| {
            backend_name(&pool.name, each)
        }));
    }
    list
}

fn compare<T: PartialEq + Serialize>(
    kind: &'static str,
    old: &[(Cow<'_, str>, T)],
    new: &[(Cow<'_, str>, T)],
    list: &mut Vec<Difference>,
) {
    // Most often little differs: what is the same in the same place is passed over.
    let differ = |at: &usize| old.get(*at) != new.get(*at);
    let places: Vec<usize> = (0..old.len().max(new.len())).filter(differ).collect();
    let old: Vec<_> = places.iter().filter_map(|at| old.get(*at)).collect();
    let new: Vec<_> = places.iter().filter_map(|at| new.get(*at)).collect();
    let new_names: BTreeSet<&str> = new.iter().map(|(name, _)| name.as_ref()).collect();
    let old_by_name: BTreeMap<&str, &T> = old
        .iter()
        .map(|(name, thing)| (name.as_ref(), thing))
        .collect();
    let mut push = |change, name: &str, details| {
        list.push(Difference {
            change,
            kind,
            name: name.to_owned(),
            details,
        });
    };
    for (name, _) in old
        .iter()
        .filter(|(name, _)| !new_names.contains(name.as_ref()))
    {
        push(Change::Removed, name, Vec::new());
    }
    let value = |thing: &T| serde_json::to_value(thing).unwrap_or_default();
    for (name, thing) in new {
        match old_by_name.get(name.as_ref()) {
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
