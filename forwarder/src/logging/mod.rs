//! The log: to journald with fields where it listens, else one line each to standard error.
//!
//! What comes too often is held back, kind by kind (see [`limit`]), and counted.

mod journal;
mod limit;
mod line;

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use env_filter::Filter;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::io::clock;
use journal::Journal;
use limit::{Limiter, Suppressed};

/// One message, wherever it goes.
struct Entry<'a> {
    level: Level,
    target: &'a str,
    text: String,
    place: Option<(&'a str, u32)>,
    fields: Vec<(String, String)>,
}

struct Logger {
    filter: Filter,
    /// `None`: standard error.
    journal: Option<Journal>,
    colours: bool,
    limiter: Mutex<Limiter>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts to log. The level of our own messages is set by `RUST_LOG`, the data plane's by its option.
pub fn start(dataplane: Option<Level>) {
    let mut filter = env_filter::Builder::new();
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let refused = filter.try_parse(&wanted).map(drop).err();
    if wanted.is_empty() || refused.is_some() {
        filter.filter_level(LevelFilter::Info);
    }
    if let Some(level) = dataplane {
        filter.filter_module("forwarder_xdp", level.to_level_filter());
    }
    let filter = filter.build();
    log::set_max_level(filter.filter());
    let logger = LOGGER.get_or_init(|| Logger {
        filter,
        journal: Journal::of_standard_error(),
        colours: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        limiter: Mutex::default(),
    });
    // A second start keeps the first one's.
    let _ = log::set_logger(logger);
    if let Some(error) = refused {
        log::warn!("RUST_LOG={wanted}: {error}");
    }
}

/// Whether messages go to journald: what is said there may have many lines.
pub fn is_journal() -> bool {
    LOGGER.get().is_some_and(|logger| logger.journal.is_some())
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        let (passes, over) = self.limiter().pass(record, clock::monotonic());
        self.tell_suppressed(over);
        if passes {
            let mut fields = Fields::default();
            // Collecting never fails.
            let _ = record.key_values().visit(&mut fields);
            self.write(&Entry {
                level: record.level(),
                target: record.target(),
                text: record.args().to_string(),
                place: record.file().zip(record.line()),
                fields: fields.0,
            });
        }
    }

    /// Tells what was held back, where the time for it has come.
    fn flush(&self) {
        let over = self.limiter().over(clock::monotonic());
        self.tell_suppressed(over);
    }
}

impl Logger {
    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_suppressed(&self, over: Vec<Suppressed>) {
        for Suppressed {
            level,
            target,
            count,
            last,
        } in over
        {
            self.write(&Entry {
                level,
                target: &target,
                text: format!("{count} more suppressed, the last: {last}"),
                place: None,
                fields: vec![("suppressed".to_owned(), count.to_string())],
            });
        }
    }

    fn write(&self, entry: &Entry<'_>) {
        if let Some(journal) = &self.journal
            && journal.send(entry).is_ok()
        {
            return;
        }
        let time = clock::wall();
        let line = line::format(time, entry, self.colours);
        // A full disk or a reader that went away must not end the daemon.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}
