//! What differs between two models, in the words of the file.

use serde::Serialize;
use serde_json::Value;

use crate::config::Model;
use crate::config::model::{Egress, Pool, ProbePort};

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
    let mut kind = |kind, old: Things, new: Things| compare(kind, &old, &new, &mut list);
    kind("settings", settings(old), settings(new));
    macro_rules! named {
        ($kind:literal, $field:ident) => {
            kind(
                $kind,
                things(&old.$field, |each| each.name.clone()),
                things(&new.$field, |each| each.name.clone()),
            )
        };
    }
    named!("interface", interfaces);
    named!("health check", health_checks);
    named!("SNAT pool", snat_pools);
    kind("pool", pools(old), pools(new));
    kind("backend", backends(old), backends(new));
    named!("virtual server", virtual_servers);
    let source = |rule: &Egress| rule.source.to_string();
    let rules = (things(&old.egress, source), things(&new.egress, source));
    kind("egress", rules.0, rules.1);
    let port = |probe: &ProbePort| format!("port {}", probe.port);
    kind(
        "probe",
        things(&old.probes, port),
        things(&new.probes, port),
    );
    list
}

type Things = Vec<(String, Value)>;

fn things<T: Serialize>(list: &[T], name: impl Fn(&T) -> String) -> Things {
    let value = |each| serde_json::to_value(each).unwrap_or_default();
    list.iter().map(|each| (name(each), value(each))).collect()
}

fn settings(model: &Model) -> Things {
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

fn pools(model: &Model) -> Things {
    let of = |pool: &Pool| {
        let slow_start = pool.slow_start;
        let value = serde_json::json!({ "health_check": pool.health_check, "slow_start": slow_start, "when_down": pool.when_down });
        (pool.name.clone(), value)
    };
    model.pools.iter().map(of).collect()
}

fn backends(model: &Model) -> Things {
    let of = |pool: &Pool| {
        things(&pool.backends, |each| {
            format!("{}/{}", pool.name, each.name)
        })
    };
    model.pools.iter().flat_map(of).collect()
}

fn compare(kind: &'static str, old: &Things, new: &Things, list: &mut Vec<Difference>) {
    let sorted = |things: &Things| -> std::collections::BTreeMap<String, Value> {
        things.iter().cloned().collect()
    };
    let (old_by_name, new_by_name) = (sorted(old), sorted(new));
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
        .filter(|(name, _)| !new_by_name.contains_key(name))
    {
        push(Change::Removed, name, Vec::new());
    }
    for (name, value) in new {
        match old_by_name.get(name) {
            None => push(Change::Added, name, Vec::new()),
            Some(before) if before != value => {
                push(Change::Changed, name, details(before, value));
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
