//! Nothing that a file holds makes the program panic.

use std::fmt::Write as _;

use forwarder::config;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutate::Corpus;

const GOOD: [&str; 5] = [
    include_str!("../../examples/several-virtual-servers-two-interfaces.toml"),
    include_str!("../../examples/floating-ip-two-front-ends-one-port.toml"),
    include_str!("../../examples/two-interfaces-one-subnet.toml"),
    include_str!("../../examples/tunnels-over-ipv6.toml"),
    include_str!("../../examples/pair.toml"),
];

/// Values that stand where others were expected.
const VALUES: [&str; 16] = [
    "0",
    "-1",
    "9223372036854775807",
    "1e400",
    "nan",
    "true",
    "\"\"",
    "\"any\"",
    "\"::\"",
    "\"0.0.0.0/0\"",
    "\"65535-65535\"",
    "[]",
    "[[]]",
    "{}",
    "{ lb1 = 1, lb2 = [\"::1/128\", 1] }",
    "1979-05-27T07:32:00Z",
];

/// Judges a file and shows what was found: both must come back.
fn judge(bytes: Vec<u8>) {
    let mut report = String::new();
    let _ = match config::parse_bytes("f", bytes) {
        Ok(config) => write!(report, "{}{:?}", config.warnings, config.models),
        Err(errors) => write!(report, "{errors}"),
    };
    assert!(!report.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..400)) {
        judge(bytes);
    }

    #[test]
    fn any_text(text in "(\\[{0,2}[a-z_.]{0,8}\\]{0,2}\n|[a-z_]{1,9} ?= ?[\\[{\"a-z0-9:./}\\]]{0,12}\n|\\PC{0,20}){0,20}") {
        judge(text.into_bytes());
    }

    #[test]
    fn good_files_with_bytes_changed(
        file in 0..GOOD.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = GOOD[file].as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        judge(bytes);
    }

    #[test]
    fn good_files_with_values_and_lines_changed(
        file in 0..GOOD.len(),
        changes in vec((any::<prop::sample::Index>(), 0..VALUES.len() + 2), 1..6),
    ) {
        let mut lines: Vec<String> = GOOD[file].lines().map(str::to_owned).collect();
        for (at, what) in changes {
            let at = at.index(lines.len());
            match (VALUES.get(what), lines[at].split_once(" = ")) {
                (Some(value), Some((key, _))) => lines[at] = format!("{key} = {value}"),
                (Some(_), None) => {
                    let line = lines.remove(at);
                    lines.push(line);
                }
                (None, _) => {
                    let line = lines[at].clone();
                    lines.push(line);
                }
            }
        }
        judge(lines.join("\n").into_bytes());
    }
}

/// The files that are wrong on purpose and the examples, with seeded mutations.
#[test]
fn the_corpus_and_its_mutations() {
    let mut corpus = Corpus::read(&["tests/config/bad", "examples"]);
    for (_, file) in corpus.files.clone() {
        judge(file);
    }
    for _ in 0..3_000 {
        judge(corpus.mutation());
    }
}
