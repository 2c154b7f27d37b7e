//! Who wants to know whether this node is active: until when it answers for VIPs, as the data plane was told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock;

/// Between two looks at a lease that has run out.
const LOOK: Duration = Duration::from_millis(10);
/// Between two looks at one that runs for ever, or at none.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when this node answers for the VIPs of each group, since boot.
#[derive(Clone, Debug)]
pub struct Sign(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    groups: Vec<String>,
    until: watch::Sender<Vec<Duration>>,
}

impl Sign {
    /// Of a node of a pair with these groups: standby in each.
    pub fn of(groups: Vec<String>) -> Self {
        let until = watch::Sender::new(vec![Duration::ZERO; groups.len()]);
        Self(Arc::new(Inner { groups, until }))
    }

    /// Of a node that is always active.
    pub fn always() -> Self {
        let (groups, until) = (Vec::new(), watch::Sender::new(vec![Duration::MAX]));
        Self(Arc::new(Inner { groups, until }))
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
        let mut names = self.0.groups.iter();
        Watch {
            // One that is not there is never active.
            place: group.map(|group| names.position(|name| name == group).unwrap_or(usize::MAX)),
            until: self.0.until.subscribe(),
        }
    }
}

/// Waits for changes of a sign.
#[derive(Clone, Debug)]
pub struct Watch {
    place: Option<usize>,
    until: watch::Receiver<Vec<Duration>>,
}

impl Watch {
    /// Whether the node is active now.
    pub fn is_active(&self) -> bool {
        clock::monotonic() < self.of(&self.until.borrow())
    }

    fn of(&self, until: &[Duration]) -> Duration {
        match self.place {
            Some(place) => until.get(place).copied(),
            None => until.iter().copied().max(),
        }
        .unwrap_or_default()
    }

    /// Whether the node is active now, for each group in its order.
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
        let sign = Sign::of(vec!["one".into(), "two".into()]);
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
        assert!(Sign::always().watch(None).is_active());
    }
}
