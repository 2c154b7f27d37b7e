//! Importers: what becomes of declarations in the shapes that people have.
//!
//! Beside each `NAME.json` there is the config file that is expected and the list of what is left out;
//! `BLESS=1` writes both anew. A declaration with `NAME.cfe.json` beside it is read together with that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use forwarder::{config, import};
use serde_json::Value;

use super::host::{binary, said};

const DIRECTORY: &str = "tests/cloud/import";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.current_dir(root()).arg("import").args(words);
    command.output().expect("the program starts")
}

fn declarations() -> Vec<String> {
    let files = fs::read_dir(root().join(DIRECTORY)).expect("the directory exists");
    let names = files.map(|file| {
        file.expect("a file")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    let mut names: Vec<_> = names
        .filter(|name| name.ends_with(".json") && !name.ends_with(".cfe.json"))
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect();
    names.sort();
    names
}

/// The words of the command for a declaration.
fn words(name: &str) -> Vec<String> {
    let kind = name.split('-').next().expect("a kind");
    let mut words = vec![kind.to_owned(), format!("{DIRECTORY}/{name}.json")];
    let cfe = format!("{DIRECTORY}/{name}.cfe.json");
    if root().join(&cfe).exists() {
        words.extend(["--cfe".to_owned(), cfe]);
    }
    words
}

#[test]
fn declarations_become_files_that_are_good() {
    let names = declarations();
    assert!(names.len() >= 16, "{names:?}");
    for name in names {
        let words = words(&name);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = run(&words);
        assert!(output.status.success(), "{name}: {}", said(&output));
        let (config, left_out) = (&output.stdout, &output.stderr);
        let text = String::from_utf8_lossy(config);
        let good =
            config::parse(&name, &text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        let warnings = good.warnings.to_string();
        let warnings = match warnings == format!("{name}: good") {
            true => String::new(),
            false => warnings + "\n",
        };
        let left_out = String::from_utf8_lossy(left_out);
        for (text, extension) in [
            (text, "toml"),
            (left_out, "left-out"),
            (warnings.into(), "warnings"),
        ] {
            let path = root().join(DIRECTORY).join(format!("{name}.{extension}"));
            if std::env::var_os("BLESS").is_some() && !text.is_empty() {
                fs::write(&path, text.as_bytes()).expect("write");
            }
            assert_eq!(
                text,
                fs::read_to_string(&path).unwrap_or_default(),
                "{name}.{extension}"
            );
        }
        every_place_is_real(&name, &words);
    }
}

/// Each line points at something that the declaration has, and only once.
fn every_place_is_real(name: &str, words: &[&str]) {
    let output = run(&[words, &["--json"]].concat());
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let read = |path: &str| -> Value {
        let text = fs::read_to_string(root().join(path)).expect("the declaration");
        serde_json::from_str(&text).expect("JSON")
    };
    let mut seen = BTreeSet::new();
    for left in all["left_out"].as_array().expect("a list") {
        let pointer = left["pointer"].as_str().expect("text");
        let (document, place) = pointer.split_once('#').unwrap_or((words[1], pointer));
        assert!(
            read(document).pointer(place).is_some(),
            "{name}: {pointer} is nowhere"
        );
        assert!(
            seen.insert((pointer.to_owned(), left["why"].to_string())),
            "{name}: {pointer} twice"
        );
    }
}

/// Whatever is taken out of a declaration, or put in its place, what comes out is good or an error.
#[test]
fn broken_declarations_do_no_harm() {
    for name in &declarations() {
        let text =
            fs::read_to_string(root().join(DIRECTORY).join(format!("{name}.json"))).expect("read");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let mut places = Vec::new();
        collect(&document, String::new(), &mut places);
        for place in places {
            for other in [
                Value::Null,
                Value::from(-1),
                Value::from("x"),
                Value::from(vec!["x"]),
            ] {
                let mut changed = document.clone();
                *changed.pointer_mut(&place).expect("it is there") = other.clone();
                let text = changed.to_string();
                let imported = match name.starts_with("as3-") {
                    true => import::as3(&text, "changed", None).map(|import| import.config),
                    false => import::cfe(&text)
                        .map(|(floating, _)| import::cfe_config("changed", &floating)),
                };
                let Ok(written) = imported else { continue };
                if written.contains("[[virtual_server]]") || name.starts_with("cfe-") {
                    let parsed = config::parse("changed", &written);
                    parsed.unwrap_or_else(|error| {
                        panic!("{name} {place} = {other}: {error}\n{written}")
                    });
                }
            }
        }
    }
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{place}/{key}"), places);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                collect(value, format!("{place}/{index}"), places);
            }
        }
        _ => (),
    }
    places.push(place);
}

#[test]
fn other_files_are_refused() {
    for (words, text) in [
        (["as3", "Cargo.toml"], "it is not JSON"),
        (
            ["as3", "tests/cloud/import/cfe-aws.json"],
            "it is no AS3 declaration",
        ),
        (
            ["cfe", "tests/cloud/import/as3-dns.json"],
            "it is no Cloud Failover declaration",
        ),
        (["cfe", "no/such.json"], "No such file"),
    ] {
        let output = run(&words);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(text), "{}", said(&output));
    }
}

/// Documents that no product has written are refused in words.
#[test]
fn odd_documents_are_refused() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let nested = "{\"class\":\"ADC\",\"a\":".repeat(1_000) + "1" + &"}".repeat(1_000);
    for text in [
        "",
        "null",
        "[]",
        "7",
        "\"ADC\"",
        "{}",
        "{\"class\":null}",
        &deep,
        &nested,
    ] {
        let as3 = import::as3(text, "odd", None).expect_err("it is none");
        let cfe = import::cfe(text).expect_err("it is none");
        for error in [as3.to_string(), cfe.to_string()] {
            assert!(!error.is_empty() && error.len() < 200, "{error}");
        }
    }
    // Declarations without anything, or with far too much.
    for text in [
        "{\"class\":\"ADC\"}".to_owned(),
        format!(
            "{{\"class\":\"ADC\",\"{}\":{{\"class\":\"Tenant\"}}}}",
            "t".repeat(100_000)
        ),
    ] {
        let import = import::as3(&text, "odd", None).expect("it is one");
        assert!(!import.config.contains("[[virtual_server]]"));
    }
}
