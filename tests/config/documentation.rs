//! `docs/configuration.md` says what the schema says.

use std::fs;

use forwarder::config::{self, Code, Severity};

/// The page with the text between `start` and the next end mark replaced.
fn replaced(page: &str, start: &str, table: &str) -> String {
    let (before, rest) = page
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in the page"));
    let (_, after) = rest.split_once("<!-- end -->").expect("an end mark");
    format!("{before}{start}\n{table}<!-- end -->{after}")
}

#[test]
fn every_section_key_and_code_is_documented() {
    let path = super::root().join("docs/configuration.md");
    let page = fs::read_to_string(&path).expect("the page");
    let mut expected = page.clone();
    for section in config::sections() {
        let start = format!("<!-- keys: {} -->", section.title);
        let table = format!("{}\n\n{}", section.about, section.markdown());
        expected = replaced(&expected, &start, &table);
    }
    let mut codes = String::from("| Code | | Meaning |\n|---|---|---|\n");
    for code in Code::ALL {
        let severity = if code.severity() == Severity::Warning {
            "warning"
        } else {
            ""
        };
        codes += &format!("| `{code}` | {severity} | {} |\n", code.about());
    }
    expected = replaced(&expected, "<!-- codes -->", &codes);
    if super::blessing() {
        fs::write(&path, &expected).expect("a writable page");
    } else {
        assert!(
            page == expected,
            "docs/configuration.md is not what the schema says: BLESS=1"
        );
    }
}

#[test]
fn every_file_in_the_documentation_is_good() {
    for name in ["docs/configuration.md", "docs/health.md"] {
        let page = fs::read_to_string(super::root().join(name)).expect("the page");
        let mut files = 0;
        for block in page.split("```toml\n").skip(1) {
            let (text, _) = block.split_once("```").expect("the end of the block");
            if let Err(errors) = config::parse(name, text) {
                panic!("{errors}");
            }
            files += 1;
        }
        assert!(files > 0, "{name}");
    }
}

/// Each key's example and default, put in the place of the key, gives no error about that value.
#[test]
fn every_example_is_a_value_of_its_key() {
    let mut keys = 0;
    for section in config::sections() {
        for key in &section.keys {
            let mut values = vec![key.example];
            if let config::Presence::Default(toml) = key.presence {
                values.push(toml);
            }
            for value in values {
                let line = format!("{} = {value}\n", key.name);
                let text = match section.title {
                    "" if key.name == "version" => line,
                    "" => format!("version = 1\n{line}"),
                    "limits" | "tunnel" | "automap" | "metrics" | "admin" | "pair"
                    | "pair.etcd" | "routes" | "cloud" => {
                        format!("[{}]\n{line}", section.title)
                    }
                    "pair.path" => format!("[[pair.path]]\n{line}"),
                    "pool.backend" => format!("[[pool]]\n[[pool.backend]]\n{line}"),
                    title => format!("[[{title}]]\n{line}"),
                };
                let found = match config::parse("f", &text) {
                    Ok(config) => config.warnings,
                    Err(errors) => errors,
                };
                let about_values = [
                    Code::Syntax,
                    Code::UnknownKey,
                    Code::WrongType,
                    Code::UnknownWord,
                    Code::OutOfRange,
                    Code::EmptyList,
                ];
                for diagnostic in found.diagnostics() {
                    let bad = about_values.contains(&diagnostic.code)
                        || diagnostic.code.name().starts_with("bad-");
                    assert!(!bad, "{text}\n{found}");
                }
                keys += 1;
            }
        }
    }
    assert!(keys > 60, "{keys}");
}
