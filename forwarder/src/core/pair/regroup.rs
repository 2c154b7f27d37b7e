//! Groups that come and go while the process runs.

use std::time::Duration;

use super::group::{self, Group};
use super::{Effect, Pair};

/// A group that is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What holds for it.
    pub settings: group::Settings,
    /// Of one that comes: the highest epoch that this node remembers.
    pub epoch: u64,
    /// Of one that comes: the group that its virtual servers have been in until now.
    pub from: Option<u16>,
}

impl Pair {
    /// These groups from now on. Those that were there go on as they are; those that come begin as standby, or
    /// as active where this node carries all that they are made of; those that go are given up at once.
    /// `grace`: as in [`super::Settings`].
    pub fn set_groups(&mut self, wanted: &[Wanted], grace: Duration, now: Duration) {
        self.expire(now);
        self.settings.grace = grace;
        let mut changes = Vec::new();
        for each in wanted {
            let id = each.settings.id;
            if let Some(group) = self
                .groups
                .iter_mut()
                .find(|group| group.settings().id == id)
            {
                group.set(each.settings);
                continue;
            }
            let mut group = Group::new(each.settings, each.epoch, now);
            if each.from.is_some_and(|from| self.carries(from)) {
                changes.push(group.inherit());
            }
            self.groups.push(group);
        }
        let is_wanted = |id| wanted.iter().any(|each| each.settings.id == id);
        for group in &mut self.groups {
            let id = group.settings().id;
            if !is_wanted(id) {
                changes.extend(group.remove(now));
                self.grace_until.remove(&id);
                self.overtaken.remove(&id);
            }
        }
        self.groups.retain(|group| is_wanted(group.settings().id));
        self.write_lease(now);
        self.effects
            .extend(changes.into_iter().map(Effect::Changed));
        self.decide(now);
        self.hello(now);
    }

    fn carries(&self, id: u16) -> bool {
        let mut groups = self.groups.iter();
        let group = groups.find(|group| group.settings().id == id);
        group.is_some_and(|group| group.role() == super::Role::Active)
    }
}
