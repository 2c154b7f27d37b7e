//! Copies of the journal's lines in a bucket. Nobody waits for them: the file is the truth.
//!
//! Each line is an object of its own that nobody overwrites; `latest.json` of a group is the end of the move with
//! the highest epoch, whichever node is late.

use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Board;
use super::bucket::Bucket;
use crate::core::cloud::archive::{Line, is_newer};

/// Lines that wait while the bucket can't be written; more are not copied.
const WAITING: usize = 1_000;
/// Attempts at one object that others change all the time.
const ATTEMPTS: usize = 8;
/// Between two attempts when it can't be written: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// What the board calls it.
const ABOUT: &str = "the journal's copy in the bucket";

/// Takes lines.
#[derive(Clone, Debug)]
pub struct Archive(Sender<Line>);

impl Archive {
    /// Copies in a task of its own.
    pub fn start(bucket: Bucket, board: Board) -> Self {
        let (sender, lines) = channel(WAITING);
        tokio::spawn(serve(bucket, board, lines));
        Self(sender)
    }

    /// Copies a line some time.
    pub fn write(&self, line: Line) {
        if self.0.try_send(line).is_err() {
            warn!("cloud: {ABOUT}: a line too many is waiting");
        }
    }
}

async fn serve(bucket: Bucket, board: Board, mut lines: Receiver<Line>) {
    let bucket = Arc::new(bucket);
    while let Some(line) = lines.recv().await {
        let mut pause = FIRST;
        while let Err(error) = copy(&bucket, &line).await {
            warn!("cloud: {ABOUT}: {error}");
            board.problem(ABOUT, Some(error));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
        board.problem(ABOUT, None);
    }
}

async fn copy(bucket: &Bucket, line: &Line) -> Result<(), String> {
    // One that is there already was written by an attempt whose answer was lost.
    bucket.create(&line.key(), &line.text).await?;
    if !line.is_end {
        return Ok(());
    }
    let latest = line.latest();
    for _ in 0..ATTEMPTS {
        if bucket.create(&latest, &line.text).await? {
            return Ok(());
        }
        let (there, etag) = bucket.read(&latest).await?;
        if !is_newer(&line.text, &there) || bucket.replace(&latest, &etag, &line.text).await? {
            return Ok(());
        }
    }
    Err(format!("{latest} changes all the time"))
}
