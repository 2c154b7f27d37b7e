//! What an operator asks of the pair.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Member;
use crate::admin::api::{PairAnswer, PairRequest};
use crate::config::model::Group;
use crate::core::pair::claim::Role;
use crate::core::pair::group::PATIENCE;
use crate::core::pair::{GroupView, View, hand_over};
use crate::io::pair::Request;
use crate::node::Node;

/// For the cloud to say what it would allow.
const REHEARSAL: Duration = Duration::from_secs(20);

type Reply = oneshot::Sender<Result<PairAnswer, String>>;
type Done = oneshot::Receiver<Result<(), hand_over::Unable>>;

/// What is to be where.
#[derive(Clone, Copy)]
struct Wish {
    /// A group; `None`: every one.
    only: Option<u16>,
    /// At this node, or at the peer.
    here: bool,
}

impl Node {
    /// Does what an operator asked for, or says why it can't be done.
    pub(in crate::node) fn ask_pair(&self, request: &PairRequest, reply: Reply) {
        let asked = match &self.pair {
            Some(pair) => pair.ask(request),
            None => Err("this node is not one of a pair".to_owned()),
        };
        // An asker that went away needs no answer.
        let (answer, done) = match asked {
            Ok((answer, Some(done))) => (answer, done),
            Ok((answer, None)) if !answer.steps.is_empty() => {
                let group = request.group.clone();
                return self.rehearse(group, answer, reply);
            }
            Ok((answer, None)) => return drop(reply.send(Ok(answer))),
            Err(error) => return drop(reply.send(Err(error))),
        };
        tokio::spawn(async move {
            let result = match done.await {
                Ok(Ok(()) | Err(hand_over::Unable::Already)) => Ok(answer),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the daemon is stopping".to_owned()),
            };
            let _ = reply.send(result);
        });
    }
}

impl Node {
    /// Adds what would be called in the cloud, and whether it would be allowed.
    fn rehearse(&self, group: Option<String>, mut answer: PairAnswer, reply: Reply) {
        let Some(asked) = self.cloud.rehearse(group) else {
            return drop(reply.send(Ok(answer)));
        };
        tokio::spawn(async move {
            match tokio::time::timeout(REHEARSAL, asked).await {
                Ok(Ok(lines)) => answer.steps.extend(lines),
                _ => answer.steps.push("cloud: no answer in time".to_owned()),
            }
            let _ = reply.send(Ok(answer));
        });
    }
}

impl Member {
    fn ask(&self, request: &PairRequest) -> Result<(PairAnswer, Option<Done>), String> {
        let view = self.handle.view();
        if let Some(on) = request.maintenance
            && !request.dry_run
        {
            let kept = self.files.set_maintenance(on);
            kept.map_err(|error| format!("it would be lost with the daemon: {error}"))?;
            self.handle.request(Request::Maintenance(on));
        }
        let Some(to) = &request.fail_over_to else {
            let answer = PairAnswer {
                node: self.names.own.clone(),
                steps: Vec::new(),
            };
            return Ok((answer, None));
        };
        let wish = self.wish(request.group.as_deref(), to, &view)?;
        let Wish { only, here } = wish;
        let names = &self.names;
        let node = if here { &names.own } else { &names.peer }.clone();
        let steps = match hand_over::check(&view, only, here) {
            Ok(()) => self.steps(wish, &view),
            Err(hand_over::Unable::Already) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        let already = steps.is_empty();
        let answer = PairAnswer { node, steps };
        if request.dry_run || already {
            return Ok((answer, None));
        }
        let (done, receiver) = oneshot::channel();
        self.handle.request(Request::FailOver(only, here, done));
        Ok((answer, Some(receiver)))
    }

    fn wish(&self, group: Option<&str>, to: &str, view: &View) -> Result<Wish, String> {
        let known = |name| self.model.groups.iter().any(|group| group.name == name);
        if let Some(name) = group
            && !known(name)
        {
            return Err(format!("the pair has no group \"{name}\""));
        }
        let only = group.map(Group::id);
        let mut active = meant(view, only).map(|group| group.role == Role::Active);
        let first = active.next().unwrap_or(false);
        let here = match to {
            "" if active.any(|other| other != first) => {
                return Err("both nodes carry groups: name a node or a group".to_owned());
            }
            "" => !first,
            name if name == self.names.own => true,
            name if name == self.names.peer => false,
            name => return Err(format!("the pair has no node \"{name}\"")),
        };
        Ok(Wish { only, here })
    }

    /// What a hand-over does, in order.
    fn steps(&self, wish: Wish, view: &View) -> Vec<String> {
        let (own, peer) = (&self.names.own, &self.names.peer);
        let drain = self.model.drain;
        let (old, new) = match wish.here {
            true => (peer, own),
            false => (own, peer),
        };
        if wish.here && view.waits {
            return vec![format!("{own} becomes active, whatever {peer} does")];
        }
        let mut steps = Vec::new();
        let moved = |group: &&GroupView| (group.role == Role::Active) != wish.here;
        for group in meant(view, wish.only).filter(moved) {
            let name = self.names.groups.get(&group.id).map_or("", String::as_str);
            let places = self.places.iter();
            let mut vips: Vec<_> = places
                .filter(|each| each.group == group.place)
                .map(|each| each.vip)
                .collect();
            vips.sort_unstable();
            vips.dedup();
            let known = group.peer.map_or(0, |claim| claim.epoch);
            let epoch = known.max(group.epoch) + 1;
            let vips = vips.len();
            steps.extend([
                format!("group {name}: {old} waits until {new} knows of all flows, {PATIENCE:?} at most"),
                format!("group {name}: {old} stops answering for {vips} VIPs, and offers them to {new}"),
                format!("group {name}: {new} takes them with epoch {epoch}, answers for them and announces them"),
            ]);
        }
        steps.push(format!(
            "{old} forwards what still comes to it for {drain:?}"
        ));
        if view.peer.is_some_and(|peer| peer.config != view.config) {
            steps.push(format!(
                "note: {own} and {peer} have different configurations"
            ));
        }
        steps
    }
}

/// The group that is meant, or all.
fn meant(view: &View, only: Option<u16>) -> impl Iterator<Item = &GroupView> {
    let groups = view.groups.iter();
    groups.filter(move |group| only.is_none_or(|only| only == group.id))
}
