//! The measuring instrument is interrupted: nothing of it is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// On the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[expect(
    clippy::disallowed_methods,
    reason = "it waits for other processes, with a limit"
)]
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Those that a process has started, and those that they have.
fn descendants(process: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let mut all = BTreeSet::new();
    for task in tasks.into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse) {
            all.insert(child);
            all.extend(descendants(child));
        }
    }
    all
}

/// Whether a process does anything still: what nobody has waited for does not.
fn runs(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let state = status.lines().find(|line| line.starts_with("State:"));
    state.is_some_and(|state| !state.contains('Z') && !state.contains('X'))
}

/// XDP programs that it holds.
fn programs(process: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{process}/fdinfo"));
    let entries = entries.into_iter().flatten().flatten();
    let is = |text: &String| text.contains("prog_id:");
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter(is).count()
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// `forwarder bench` is sent a signal in the middle of it.
fn interrupted(what: &str, signal: &str) {
    let name = format!("forwarder-interrupt-{what}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_forwarder"));
    command.args(["bench", what]).env("TMPDIR", &directory);
    let mut bench = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let id = bench.id();
    let mut started = BTreeSet::new();
    wait_for(&format!("bench {what} does not begin"), || {
        let ended = bench.try_wait().expect("it is a child");
        assert!(ended.is_none(), "bench {what} ended: {ended:?}");
        started.extend(descendants(id));
        // Programs alone need no daemon. A daemon has loaded its programs when the instrument has its own and more.
        match what {
            "prog" => programs(id) > 6,
            _ => {
                !entries(&directory).is_empty() && started.iter().any(|child| programs(*child) > 6)
            }
        }
    });
    started.extend(descendants(id));
    let kill = Command::new("kill")
        .args([signal, &id.to_string()])
        .status();
    assert!(kill.expect("kill").success());
    let mut code = None;
    wait_for(&format!("bench {what} goes on"), || {
        code = bench.try_wait().expect("it is a child");
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(130), "bench {what}");
    // Network namespaces have no names: they are gone with the processes that are in them.
    wait_for(&format!("what bench {what} has started goes on"), || {
        !started.iter().any(|child| runs(*child))
    });
    assert_eq!(entries(&directory), Vec::<String>::new(), "bench {what}");
    fs::remove_dir(&directory).expect("nothing is in it");
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    for (what, signal) in [("prog", "-INT"), ("wire", "-INT"), ("scale", "-TERM")] {
        interrupted(what, signal);
    }
}
