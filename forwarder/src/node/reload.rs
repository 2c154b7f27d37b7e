//! Putting another configuration to work, or saying what that would change.

use std::collections::BTreeSet;

use log::{info, warn};

use super::Node;
use super::change::Step;
use super::checks;
use super::running::Running;
use crate::admin::api::{Change, Difference, Op, OverrideRequest};
use crate::config::Config;
use crate::config::model::{Backend, BackendState};
use crate::core::change::{devices_only_in, needs_restart};
use crate::core::compile::{BackendKey, Compiled, Note, Snapshot};
use crate::core::difference::{self, difference, of_backend};
use crate::core::history::Kind;
use crate::core::op;
use crate::core::overrides;
use crate::core::plan::plan;
use crate::dataplane::attach::{Choice, Facts, Target, examine};
use crate::io::clock;

/// What differs then, and what was changed for it.
type Overridden = (Vec<difference::Difference>, Vec<op::Op>);

/// A configuration that can be put to work.
#[derive(Debug)]
pub struct Prepared {
    new: Running,
    /// Interfaces that it has and the running one has not.
    attach: Vec<(Facts, Choice)>,
}

impl Node {
    /// Does a step of a change.
    pub(super) fn step(&mut self, step: Step) {
        // An asker that went away needs no answer.
        match step {
            Step::Path(reply) => drop(reply.send(self.running.file.clone())),
            Step::Plan(config, node, reply) => drop(reply.send(self.plan(*config, node))),
            Step::Prepare(config, node, reply) => {
                drop(reply.send(self.prepare(*config, node).map(Box::new)));
            }
            Step::IsPrepared(reply) => drop(reply.send(self.host.is_prepared())),
            Step::Apply(prepared, reply) => drop(reply.send(self.reload(*prepared))),
            Step::Refused(why) => {
                self.host.prepared();
                let file = self.running.file.display().to_string();
                let last = why.lines().last().unwrap_or_default();
                self.remember(Kind::Config, file, &format!("reload refused: {last}"));
                self.config_error = Some(why);
            }
        }
    }

    /// What a reload would change. Touches nothing.
    fn plan(&mut self, config: Config, node: Option<String>) -> Result<Change, String> {
        let Prepared { new, .. } = self.check(config, node)?;
        let facts = self.host.peek(&new.model);
        let Compiled { tables, notes, .. } = self.compile(&new.model, &facts);
        let ops = plan(&self.actual, &tables);
        Ok(self.change(&new, &ops, &notes))
    }

    fn prepare(&mut self, config: Config, node: Option<String>) -> Result<Prepared, String> {
        let prepared = self.check(config, node)?;
        self.host.prepare(&prepared.new.model);
        Ok(prepared)
    }

    /// Whether the running daemon can do this. Touches nothing.
    fn check(&mut self, config: Config, node: Option<String>) -> Result<Prepared, String> {
        let node = node.or_else(|| self.running.node.clone());
        let mut new = Running::new(config, node).map_err(|errors| errors.to_string())?;
        if let (Some(old), Some(new)) = (&self.running.model.pair, &mut new.model.pair) {
            let kept = new.keep_places(&old.groups);
            kept.ok_or("too many groups come and go at once: restart the daemon for that")?;
        }
        let needs = needs_restart(&self.running.model, &new.model, self.hash_key);
        if !needs.is_empty() {
            return Err(refusal(&needs));
        }
        self.check_groups(&new)?;
        checks::ready(&new.model).map_err(|error| error.to_string())?;
        let added = devices_only_in(&new.model, &self.running.model);
        let interfaces = new.model.interfaces.iter();
        let targets: Vec<Target> = interfaces
            .filter(|interface| added.contains(&interface.device))
            .map(Target::from)
            .collect();
        let links = match &self.keep {
            Some(keep) => keep.pins.links().map_err(|error| error.to_string())?,
            None => Vec::new(),
        };
        let attach =
            examine(&mut self.host.netlink, &targets, &links).map_err(|error| error.to_string())?;
        Ok(Prepared { new, attach })
    }

    /// Puts a configuration to work; if that fails, everything is as before.
    fn reload(&mut self, prepared: Prepared) -> Result<Change, String> {
        let Prepared { new, attach } = prepared;
        // A program without an entry for its interface passes everything: attaching comes first.
        let pins = self.keep.as_ref().map(|keep| &keep.pins);
        self.bpf
            .attach(&mut self.host.netlink, &attach, pins)
            .map_err(|error| error.to_string())?;
        let added: BTreeSet<String> = devices(&attach);
        let mut change = self.change(&new, &[], &[]);
        let notes: BTreeSet<Note> = self.notes.all().cloned().collect();
        let old_overrides = std::mem::take(&mut self.overrides);
        self.add_groups(&new.model);
        let old = std::mem::replace(&mut self.running, new);
        let done = self.put_to_work();
        self.host.prepared();
        match done {
            Ok(ops) => change.ops = ops.iter().map(Op::from).collect(),
            Err(error) => {
                self.running = old;
                self.overrides = old_overrides;
                // What fails here is reported by the pass itself, and tried again by the next.
                let _ = self.put_to_work();
                self.set_groups(&self.running.model.clone());
                self.bpf.detach_from(&added);
                return Err(error);
            }
        }
        self.set_groups(&old.model);
        let removed = devices_only_in(&old.model, &self.running.model);
        self.bpf.detach_from(&removed);
        self.config_error = None;
        self.generation += 1;
        self.reloaded_at = clock::wall();
        self.pair_reloaded();
        self.probes_reloaded();
        self.cloud_reloaded(&old.model);
        if let Err(error) = self.hooks.set(&self.model.hooks) {
            warn!("hooks: {error}");
        }
        self.note_interfaces(&added, &removed);
        self.log_reload(&change);
        let news = self.notes.all().filter(|note| !notes.contains(note));
        change.warnings.extend(news.map(ToString::to_string));
        Ok(change)
    }

    /// Changes one backend until the next reload.
    pub(super) fn set_override(&mut self, wanted: &OverrideRequest) -> Result<Change, String> {
        if self.followed.is_some() {
            return Err("the peer is active: change it there, and this node follows".to_owned());
        }
        let backend = overrides::find(&self.running.model, &wanted.pool, &wanted.backend)?.clone();
        let old = self.overrides.clone();
        for change in changes(wanted)? {
            self.overrides.set(&wanted.pool, &backend, change);
        }
        let (changes, ops) = match self.override_one(&wanted.pool, &backend) {
            Ok(done) => done,
            Err(error) => {
                self.overrides = old;
                let _ = self.put_to_work();
                return Err(error);
            }
        };
        for each in &changes {
            let text = format!("{} (until the next reload)", each.details.join(", "));
            info!("{} {}: {text}", each.kind, each.name);
            self.remember(Kind::Override, each.name.clone(), &text);
        }
        let warnings = self.notes.all().map(ToString::to_string).collect();
        Ok(Change {
            config: self.running.file.clone(),
            config_hash: self.running.hash.clone(),
            changes: changes.into_iter().map(Difference::from).collect(),
            ops: ops.iter().map(Op::from).collect(),
            warnings,
        })
    }

    /// Brings a backend of the file to what the overrides say.
    fn override_one(&mut self, pool: &str, file: &Backend) -> Result<Overridden, String> {
        let backend = self.overrides.applied(pool, file);
        let mut pools = self.model.pools.iter_mut();
        let found = pools.find(|each| each.name == pool).and_then(|pool| {
            let mut backends = pool.backends.iter_mut();
            backends.find(|each| each.name == backend.name)
        });
        let Some(found) = found else {
            return Err(format!("pool {pool} has no backend {}", backend.name));
        };
        let before = std::mem::replace(found, backend.clone());
        let changes = of_backend(pool, &before, &backend);
        // A backend that is disabled is not checked.
        let is_disabled = |each: &Backend| each.state == BackendState::Disabled;
        if is_disabled(&before) == is_disabled(&backend) {
            // A daemon that ends in between does it again.
            self.save(|own| Snapshot::of(&own.state))?;
            if let Some(ops) = self.change_one(&BackendKey::new(pool, &backend)) {
                self.changed_some()?;
                return Ok((changes, ops));
            }
        }
        Ok((changes, self.put_to_work()?))
    }

    /// Brings everything to what the running file and the overrides say.
    fn put_to_work(&mut self) -> Result<Vec<op::Op>, String> {
        let model = self.overrides.apply(&self.running.model);
        self.checks.extend(&model);
        self.model = model;
        let ops = self.pass();
        match self.failure.clone() {
            Some(failure) => Err(failure),
            None => {
                self.checks.retain(&self.model);
                Ok(ops)
            }
        }
    }

    fn change(&self, new: &Running, ops: &[op::Op], notes: &[Note]) -> Change {
        let mut warnings = new.warnings.clone();
        let known: BTreeSet<&Note> = self.notes.all().collect();
        let news = notes.iter().filter(|note| !known.contains(note));
        warnings.extend(news.map(ToString::to_string));
        let changes = difference(&self.model, &new.model);
        Change {
            config: new.file.clone(),
            config_hash: new.hash.clone(),
            changes: changes.into_iter().map(Difference::from).collect(),
            ops: ops.iter().map(Op::from).collect(),
            warnings,
        }
    }

    fn log_reload(&mut self, change: &Change) {
        let (things, elements) = (change.changes.len(), change.ops.len());
        let short = change.config_hash.get(..12).unwrap_or_default().to_owned();
        let text = format!(
            "reloaded, sha256 {short}: {things} things of the file, {elements} map elements"
        );
        let file = change.config.display().to_string();
        info!(config = "reloaded", hash = change.config_hash.as_str(); "{file}: {text}");
        for warning in &change.warnings {
            warn!("{file}: {warning}");
        }
        self.remember(Kind::Config, file, &text);
    }

    fn note_interfaces(&mut self, added: &BTreeSet<String>, removed: &BTreeSet<String>) {
        let attached: Vec<(String, String)> = self
            .bpf
            .attached()
            .filter(|each| added.contains(&each.device))
            .map(|each| (each.device.clone(), each.to_string()))
            .collect();
        for (device, text) in attached {
            info!(interface = device.as_str(); "{text}");
            let text = text.strip_prefix(&format!("{device}: ")).unwrap_or(&text);
            self.remember(Kind::Interface, device, text);
        }
        for device in removed {
            info!(interface = device.as_str(); "{device}: detached");
            self.remember(Kind::Interface, device.clone(), "detached");
        }
    }
}

/// Why these cannot be put to work, and what to do.
fn refusal(needs: &[&str]) -> String {
    let how = if needs.contains(&"pair") {
        ": paths, times, key and partition are of both nodes, so put the same file on both, then the standby's daemon first"
    } else {
        ""
    };
    let needs = needs.join(", ");
    format!("{needs}: cannot change while the daemon runs; restart it for that{how}")
}

fn devices(interfaces: &[(Facts, Choice)]) -> BTreeSet<String> {
    let names = interfaces.iter();
    names.map(|(facts, _)| facts.link.name.clone()).collect()
}

fn changes(wanted: &OverrideRequest) -> Result<Vec<overrides::Change>, String> {
    let mut changes = Vec::new();
    if let Some(word) = &wanted.state {
        let state = BackendState::from_word(word)
            .ok_or_else(|| format!("\"{word}\" is not enabled, forced, drained or disabled"))?;
        changes.push(overrides::Change::State(state));
    }
    match wanted.weight {
        Some(weight) if weight > 100 => return Err("a weight is at most 100".to_owned()),
        Some(weight) => changes.push(overrides::Change::Weight(weight)),
        None => (),
    }
    Ok(changes)
}

impl From<&crate::config::model::Interface> for Target {
    fn from(interface: &crate::config::model::Interface) -> Self {
        Self {
            device: interface.device.clone(),
            allow_generic: interface.allow_generic,
            may_be_missing: interface.moves,
        }
    }
}
