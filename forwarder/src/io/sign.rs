//! Who wants to know whether this node is active: until when it answers for VIPs, as the data plane was told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forwarder_common::lease::GROUPS;
use tokio::sync::watch;

use super::clock;
use crate::config::model::Group;

/// Between two looks at a lease that has run out.
const LOOK: Duration = Duration::from_millis(10);
/// Between two looks at one that runs for ever, or at none.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when this node answers for the VIPs of each group, since boot.
#[derive(Clone, Debug)]
pub struct Sign(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By place; without a name: no group is there.
    names: Mutex<Vec<String>>,
    until: watch::Sender<Vec<Duration>>,
}

impl Sign {
    /// Of a node of a pair with these groups: standby in each.
    pub fn of(groups: &[Group]) -> Self {
        let until = watch::Sender::new(vec![Duration::ZERO; GROUPS]);
        let names = Mutex::default();
        let sign = Self(Arc::new(Inner { names, until }));
        sign.name(groups);
        sign
    }

    /// Other groups.
    pub fn name(&self, groups: &[Group]) {
        let mut names = vec![String::new(); GROUPS];
        for group in groups {
            if let Some(name) = names.get_mut(usize::from(group.place)) {
                name.clone_from(&group.name);
            }
        }
        *self.0.names() = names;
        // Whoever waits for one of them may wait for another place now.
        self.0.until.send_modify(|_| ());
    }

    /// Of a node that is always active.
    pub fn always() -> Self {
        let until = watch::Sender::new(vec![Duration::MAX]);
        let names = Mutex::default();
        Self(Arc::new(Inner { names, until }))
    }

    /// Takes in what the data plane was told. Waits for nobody.
    pub fn set(&self, groups: impl Iterator<Item = Duration>) {
        self.0.until.send_if_modified(|known| {
            let mut flipped = false;
            for (known, until) in known.iter_mut().zip(groups) {
                let before = std::mem::replace(known, until);
                flipped |= before.is_zero() != until.is_zero();
            }
            flipped
        });
    }

    /// Watches a group; `None`: every one, active for one is active.
    pub fn watch(&self, group: Option<&str>) -> Watch {
        Watch {
            group: group.map(ToOwned::to_owned),
            until: self.0.until.subscribe(),
            inner: Arc::clone(&self.0),
        }
    }
}

impl Inner {
    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for changes of a sign.
#[derive(Clone, Debug)]
pub struct Watch {
    group: Option<String>,
    until: watch::Receiver<Vec<Duration>>,
    inner: Arc<Inner>,
}

impl Watch {
    /// Whether the node is active now.
    pub fn is_active(&self) -> bool {
        clock::monotonic() < self.of(&self.until.borrow())
    }

    fn of(&self, until: &[Duration]) -> Duration {
        let Some(group) = &self.group else {
            return until.iter().copied().max().unwrap_or_default();
        };
        // One that is not there is never active.
        let place = self.inner.names().iter().position(|name| name == group);
        let until = place.and_then(|place| until.get(place));
        until.copied().unwrap_or_default()
    }

    /// Whether the node is active now, for the group at each place.
    pub fn active(&mut self) -> Vec<bool> {
        let now = clock::monotonic();
        let until = self.until.borrow_and_update();
        until.iter().map(|until| now < *until).collect()
    }

    /// Waits until that may have changed.
    pub async fn changed(&mut self) {
        let now = clock::monotonic();
        let ends = self.until.borrow().clone();
        let ends = ends.into_iter().filter(|end| !end.is_zero());
        let left = ends.map(|end| end.saturating_sub(now).max(LOOK)).min();
        self.sleep(left.unwrap_or(LONGEST)).await;
    }

    /// Waits for a change, at most for this time.
    async fn sleep(&mut self, time: Duration) {
        let changed = async {
            // Nobody is left to change it.
            if self.until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(time.min(LONGEST)) => {}
        }
    }

    /// Waits until the node is active, or no longer.
    pub async fn until(&mut self, active: bool) {
        loop {
            self.until.mark_unchanged();
            let until = self.of(&self.until.borrow());
            let left = until.saturating_sub(clock::monotonic());
            if left.is_zero() != active {
                return;
            }
            // A lease that has run out may be renewed after all, which is not told.
            let look = if until.is_zero() { LONGEST } else { LOOK };
            self.sleep(left.max(look)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A busy machine takes its time.
    const LIMIT: Duration = Duration::from_secs(60);

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    }

    fn wait(watch: &mut Watch, active: bool) {
        let waited = async { tokio::time::timeout(LIMIT, watch.until(active)).await };
        runtime().block_on(waited).expect("it changes");
    }

    #[test]
    fn a_lease_that_ends_is_noticed_and_each_group_has_its_own() {
        let group = |(place, name): (u8, &str)| Group {
            name: name.to_owned(),
            id: Group::id(name),
            place,
            priority: 0,
            preferred: false,
        };
        let sign = Sign::of(&[(0, "one"), (1, "two")].map(group));
        let mut all = sign.watch(None);
        let mut two = sign.watch(Some("two"));
        assert!(!all.is_active() && !two.is_active());
        sign.set([clock::monotonic() + LIMIT * 2, Duration::ZERO].into_iter());
        wait(&mut all, true);
        wait(&mut two, false);
        assert!(all.is_active() && !sign.watch(Some("three")).is_active());
        sign.set([Duration::ZERO; 2].into_iter());
        wait(&mut all, false);
        sign.set(
            [
                Duration::ZERO,
                clock::monotonic() + Duration::from_millis(20),
            ]
            .into_iter(),
        );
        // Nobody says that it has ended.
        wait(&mut two, false);
        sign.set([Duration::ZERO, clock::monotonic() + LIMIT * 2].into_iter());
        wait(&mut two, true);
        // Another group has come to its place, and it is elsewhere.
        sign.name(&[(1, "three"), (2, "two")].map(group));
        wait(&mut two, false);
        assert!(sign.watch(Some("three")).is_active());
        assert!(Sign::always().watch(None).is_active());
    }
}
