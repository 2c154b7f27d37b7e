//! A file that says what was moved: a line of JSON when a move begins, and one when it has ended.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use log::warn;
use serde::Serialize;

use super::archive::Archive;
use crate::core::cloud::archive as core;
use crate::core::time::utc;
use crate::io::clock;

/// A file of this size, bytes, is put aside, with `.1` after its name.
const LARGEST: u64 = 1 << 20;

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `begin` or `end`.
    pub event: &'static str,
    /// The group that moves.
    pub group: String,
    /// Why: the cause of the change of role, or what was found.
    pub cause: String,
    /// The epoch.
    pub epoch: u64,
    /// What is called.
    pub calls: Vec<CallEntry>,
    /// From the first call to the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// Until everything was seen here; `null`: it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_milliseconds: Option<Option<f64>>,
    /// What was not found, and so not moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A call of it.
#[derive(Clone, Debug, Serialize)]
pub struct CallEntry {
    /// The action.
    pub action: &'static str,
    /// What moves.
    pub what: Vec<String>,
    /// The network interfaces that had it when it was last looked.
    pub from: Vec<String>,
    /// The network interface that is to have it.
    pub to: String,
    /// Whether it was done; not there: it was not answered when this was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// How often it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Until the answer that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// Why the last failed try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    node: &'a str,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// Writes in a thread of its own: a slow disk delays no call.
#[derive(Clone, Debug)]
pub struct Journal {
    node: String,
    lines: Sender<String>,
    archive: Option<Archive>,
}

impl Journal {
    /// Opens the file with the first line. `archive`: gets copies.
    pub fn start(path: PathBuf, node: String, archive: Option<Archive>) -> Self {
        let (sender, lines) = channel();
        let thread = thread::Builder::new().name("journal".to_owned());
        if let Err(error) = thread.spawn(move || serve(&path, &lines)) {
            warn!("cloud: no journal: {error}");
        }
        Self {
            node,
            lines: sender,
            archive,
        }
    }

    /// Writes a line.
    pub fn write(&self, entry: &Entry) {
        let at = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        let line = Line {
            at: utc(at),
            node: &self.node,
            entry,
        };
        let text = match serde_json::to_string(&line) {
            Ok(text) => text,
            Err(error) => return warn!("cloud: journal: {error}"),
        };
        if let Some(archive) = &self.archive {
            archive.write(core::Line {
                group: entry.group.clone(),
                node: self.node.clone(),
                epoch: entry.epoch,
                at,
                is_end: entry.event == "end",
                text: text.clone(),
            });
        }
        // Without the thread there is no journal, which was said.
        let _ = self.lines.send(text);
    }
}

fn serve(path: &Path, lines: &Receiver<String>) {
    for line in lines {
        if let Err(error) = append(path, line) {
            warn!("cloud: {}: {error}", path.display());
        }
    }
}

fn append(path: &Path, mut line: String) -> io::Result<()> {
    line.push('\n');
    let mut file = open(path)?;
    if file.metadata()?.len() >= LARGEST {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        rename(path, old)?;
        file = open(path)?;
    }
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
