//! `cargo xtask bench` alone: everything there is, one after another.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::output::code;
use super::own;
use crate::command::{program, shown};
use crate::workspace;

/// Options where no kind is named.
#[derive(Args)]
pub struct Whole {
    /// Fewer kinds, cases and rounds
    #[arg(long)]
    quick: bool,
    /// Reports go into this directory
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

/// Something that is run, beside what the forwarder measures itself.
struct Kind {
    name: &'static str,
    options: &'static [&'static str],
    /// Options where time is short; `None`: it is left out.
    quick: Option<&'static [&'static str]>,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "change",
        options: &[],
        quick: Some(&["--rounds", "1"]),
    },
    Kind {
        name: "scale",
        options: &[],
        quick: None,
    },
    Kind {
        name: "failover",
        options: &["--rounds", "5", "--calm", "10"],
        quick: None,
    },
    Kind {
        name: "look",
        options: &["--rounds", "4"],
        quick: None,
    },
];

pub fn run(options: &Whole) -> Result<ExitCode> {
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| workspace::root().join("target/bench"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let mut words: Vec<OsString> = ["bench", "all"].map(OsString::from).into();
    if options.quick {
        words.push("--quick".into());
    }
    for kind in ["json", "markdown", "html"] {
        let file = match kind {
            "markdown" => "forwarder.md".to_owned(),
            kind => format!("forwarder.{kind}"),
        };
        words.extend([format!("--{kind}").into(), out.join(file).into()]);
    }
    let mut failed = Vec::new();
    if !own::forwarder(words.iter())? {
        failed.push("forwarder");
    }
    for kind in KINDS {
        let thorough = Some(kind.options);
        let Some(more) = (if options.quick { kind.quick } else { thorough }) else {
            continue;
        };
        let xtask = std::env::current_exe()?;
        let mut words: Vec<OsString> = ["bench", kind.name].map(OsString::from).into();
        words.extend(more.iter().map(OsString::from));
        let json = out.join(format!("{}.json", kind.name));
        words.extend(["--json".into(), json.into()]);
        let mut bench = program(&xtask.to_string_lossy(), &words);
        println!("$ {}", shown(&bench));
        if !bench.status()?.success() {
            failed.push(kind.name);
        }
    }
    println!("reports: {}", out.display());
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
    }
    Ok(code(failed.is_empty()))
}
