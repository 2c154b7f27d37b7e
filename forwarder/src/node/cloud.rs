//! What moves by calls of a cloud's API.

use std::io;
use std::path::{Path, PathBuf};

use log::warn;
use tokio::sync::{mpsc, oneshot};

use super::Node;
use super::notes::Notes;
use crate::admin::api::RoleChange;
use crate::config::Model;
use crate::config::model::DEFAULT_GROUP;
use crate::core::history::Kind;
use crate::core::key::mac_text;
use crate::io::clock;
use crate::io::cloud::{Counts, Event, Handle, Setup};
use crate::io::sign::Sign;

/// The thread, and what it is made of.
#[derive(Default)]
pub struct Cloud {
    handle: Option<Handle>,
    /// Whether this node is active, and the admin socket.
    around: Option<(Sign, PathBuf)>,
    events: Option<mpsc::UnboundedSender<Event>>,
    problems: Notes<String>,
}

impl Cloud {
    /// What is there once the daemon runs.
    pub fn ready(&mut self, sign: &Sign, socket: &Path) {
        self.around = Some((sign.clone(), socket.to_owned()));
    }

    /// A group's role has changed.
    pub fn role(&self, group: &str, change: &RoleChange) {
        if let Some(handle) = &self.handle {
            handle.role(group, change.epoch, &change.cause);
        }
    }

    /// What does not work.
    pub fn problems(&self) -> Vec<String> {
        let handle = self.handle.as_ref();
        handle.map_or_else(Vec::new, Handle::problems)
    }

    /// What was counted; `None`: nothing is called.
    pub fn counts(&self) -> Option<Counts> {
        self.handle.as_ref().map(Handle::counts)
    }

    /// What would be called; `None`: nothing is.
    pub fn rehearse(&self, group: Option<String>) -> Option<oneshot::Receiver<Vec<String>>> {
        self.handle.as_ref().map(|handle| handle.rehearse(group))
    }
}

impl Node {
    /// Starts what moves things, if anything moves. What happens comes from the receiver.
    pub(super) fn start_cloud(&mut self) -> io::Result<mpsc::UnboundedReceiver<Event>> {
        let (sender, events) = mpsc::unbounded_channel();
        self.cloud.events = Some(sender);
        self.run_cloud()?;
        Ok(events)
    }

    fn run_cloud(&mut self) -> io::Result<()> {
        // First the one before ends.
        self.cloud.handle = None;
        let facts = self.host.facts(&self.model);
        let model = &self.model;
        let (Some(cloud), Some((sign, socket)), Some(events)) =
            (&model.cloud, &self.cloud.around, &self.cloud.events)
        else {
            return Ok(());
        };
        let pair = model.pair.as_ref();
        let groups = pair.map_or_else(
            || vec![(DEFAULT_GROUP.to_owned(), 0)],
            |pair| {
                let groups = pair.groups.iter();
                groups.map(|group| (group.name.clone(), group.id)).collect()
            },
        );
        let macs = model.interfaces.iter().filter_map(|interface| {
            let device = facts.devices.get(&interface.device)?;
            Some((interface.name.clone(), mac_text(device.mac)))
        });
        let journal = cloud.journal.clone();
        let observer = self.pair.as_ref().map(|pair| pair.handle.observer());
        self.cloud.handle = Some(Handle::start(Setup {
            cloud: cloud.clone(),
            groups,
            node: model
                .node
                .as_ref()
                .map_or_else(String::new, |node| node.name.clone()),
            macs: macs.collect(),
            journal: journal.unwrap_or_else(|| socket.with_file_name("cloud.journal")),
            sign: sign.clone(),
            observer: observer.transpose()?,
            events: events.clone(),
        })?);
        Ok(())
    }

    /// Another configuration is at work.
    pub(super) fn cloud_reloaded(&mut self, old: &Model) {
        let groups = |model: &Model| model.pair.as_ref().map(|pair| pair.groups.clone());
        if (old.cloud != self.model.cloud
            || old.interfaces != self.model.interfaces
            || groups(old) != groups(&self.model))
            && let Err(error) = self.run_cloud()
        {
            warn!("cloud: {error}");
        }
    }

    /// Something was moved, or was not.
    pub(super) fn moved(&mut self, event: &Event) {
        self.remember(Kind::Role, format!("cloud {}", event.group), &event.text);
    }

    /// Tells what does not work, and what does again.
    pub(super) fn watch_cloud(&mut self) {
        let problems = self.cloud.problems();
        let news = self.cloud.problems.update(problems, clock::monotonic());
        self.tell("cloud", news);
    }
}
