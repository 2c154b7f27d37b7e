//! What is run, with what, and how long that takes.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::program;

/// One benchmark.
pub struct Part {
    pub name: &'static str,
    /// Whether the forwarder measures it itself.
    own: bool,
    /// Options, and seconds on two cores that do nothing else.
    full: Run,
    /// The same where time is short; `None`: it is left out.
    quick: Option<Run>,
}

type Run = (&'static [&'static str], u64);

/// The first is one whose JSON is a report of the forwarder.
pub const PARTS: [Part; 7] = [
    Part {
        name: "prog",
        own: true,
        full: (&[], 150),
        quick: Some((&["--quick"], 20)),
    },
    Part {
        name: "wire",
        own: true,
        full: (&[], 180),
        quick: Some((&["--quick"], 60)),
    },
    Part {
        name: "scale",
        own: true,
        full: (&[], 90),
        quick: Some((&["--quick"], 25)),
    },
    Part {
        name: "change",
        own: false,
        full: (&["--rounds", "5"], 75),
        quick: Some((
            &["--rounds", "1", "--only", "reload", "--only", "upgrade"],
            8,
        )),
    },
    Part {
        name: "failover",
        own: false,
        full: (&["--rounds", "5", "--calm", "5", "--windows", "1"], 420),
        quick: Some((
            &[
                "--rounds",
                "2",
                "--interval",
                "50",
                "--fault",
                "silent-death",
                "--fault",
                "kill",
                "--fault",
                "hand-over",
            ],
            25,
        )),
    },
    Part {
        name: "load",
        own: false,
        full: (&["--rounds", "5"], 60),
        quick: None,
    },
    Part {
        name: "look",
        own: false,
        full: (&["--rounds", "4"], 70),
        quick: None,
    },
];

impl Part {
    /// With its options and seconds, if it is to be run.
    pub fn wanted(&self, quick: bool) -> Option<(&Self, &'static [&'static str], u64)> {
        let (options, seconds) = if quick { self.quick? } else { self.full };
        Some((self, options, seconds))
    }

    /// What runs it and writes its JSON there.
    pub fn command(&self, forwarder: &Path, options: &[&str], json: &Path) -> Result<Command> {
        let xtask = std::env::current_exe()?;
        let file = if self.own { forwarder } else { &xtask };
        let name = match self.name {
            "load" => "scale",
            name => name,
        };
        let mut words: Vec<OsString> = ["bench", name].map(OsString::from).into();
        words.extend(options.iter().map(OsString::from));
        words.extend(["--json".into(), json.into()]);
        Ok(program(&file.to_string_lossy(), &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_fits() {
        let sum = |quick| -> u64 {
            let parts = PARTS.iter().filter_map(|part| part.wanted(quick));
            parts.map(|(_, _, seconds)| seconds).sum()
        };
        assert!(sum(false) <= 20 * 60 && sum(true) <= 3 * 60);
    }
}
