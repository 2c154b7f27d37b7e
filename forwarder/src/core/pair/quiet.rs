//! Whether the peer is lost, and this node silent because of it.

use std::time::Duration;

use super::claim::{Health, Role};
use super::group::Group;
use super::liveness::{Path, PathState};
use super::partition::Signs;
use super::{Effect, Pair};

impl Pair {
    /// Looks at both.
    pub(super) fn note(&mut self, now: Duration) {
        let written = |effect: &Effect| !matches!(effect, Effect::Lease(..));
        let signs = Signs {
            lost: self.is_lost(now),
            proof: self.proof(),
            quiet: self.quiet && self.is_to_be_quiet(now) && self.effects.iter().all(written),
            carries: !self.is_idle(),
        };
        self.partition.note(signs, now);
    }

    /// Until when echoes are answered.
    pub(super) fn answers_until(&self, now: Duration) -> Duration {
        match self.is_to_be_quiet(now) {
            true => Duration::ZERO,
            false => self.lease_until,
        }
    }

    /// Whoever hears nothing and may not be active alone answers nothing: the peer may, and would wait for
    /// this node; or it may not either, and is not to believe that it is heard.
    fn is_to_be_quiet(&self, now: Duration) -> bool {
        let able = !self.maintenance && self.health != Health::Isolated;
        let standby = |group: &Group| group.role() == Role::Standby;
        let since = self.partition.lost_since();
        let heard = self.heard > since && self.is_fresh(now);
        self.partition.is_to_be_quiet() && able && !heard && self.groups.iter().any(standby)
    }

    /// Whether the data plane has yet to be told, or it is not known yet that it was.
    pub(super) fn is_becoming_quiet(&self, now: Duration) -> bool {
        self.is_to_be_quiet(now) && !self.partition.is_quiet()
    }

    /// When this node sent what the peer has shown last to have got, before it was quiet. It answers echoes
    /// and makes offers only then.
    fn proof(&self) -> Option<Duration> {
        let echoes = self.paths.iter().filter_map(Path::proof);
        echoes.chain(self.offered).max()
    }

    /// Whether the peer is.
    pub(super) fn is_lost(&self, now: Duration) -> bool {
        let down = |path: &Path| path.state() == PathState::Down;
        self.paths.iter().all(down) || self.partition.is_overdue(self.proof(), now)
    }
}
