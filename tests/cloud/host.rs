//! The command line on a host of the lab.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use forwarder_lab::Namespace;
use serde_json::Value;

/// Nothing here takes that long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forwarder"))
}

/// Runs `forwarder` with these words on a host.
pub fn forwarder(host: &Namespace, words: &[&str]) -> Output {
    host.command(binary())
        .args(words)
        .output()
        .expect("the program starts")
}

/// What it printed, of both kinds.
pub fn said(output: &Output) -> String {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// What `doctor` finds on a host that is not as it should be: code and severity.
pub fn findings(host: &Namespace, words: &[&str]) -> (Vec<(String, String)>, Option<i32>) {
    let output = forwarder(host, &[&["doctor", "--json"], words].concat());
    let all: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let all = all.as_array().expect("a list").iter();
    let all = all.filter(|finding| finding["severity"] != "ok" && finding["severity"] != "note");
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
    let pairs = all.map(|finding| (text(finding, "code"), text(finding, "severity")));
    (pairs.collect(), output.status.code())
}
