//! Good files fit the schema, and wrong keys and values do not.

use forwarder_lab::json_schema::misfit;

use super::*;
use crate::config::examples;

fn check(text: &str) -> Option<String> {
    let table = DeTable::parse(text).expect("TOML");
    let json = json_of_table(table.get_ref()).expect("what JSON has too");
    misfit(&json_schema(), &json)
}

#[test]
fn the_examples_fit() {
    for example in examples() {
        assert_eq!(check(example.text), None, "{}", example.name);
    }
}

#[test]
fn what_the_schema_can_see_does_not_fit() {
    for (text, place) in [
        ("", ": no \"version\""),
        ("version = \"1\"", ".version"),
        ("version = 1\nversoin = 1", ".versoin"),
        ("version = 1\nlimits = { flows = 1 }", ".limits.flows"),
        (
            "version = 1\ninterface = [{ name = \"a\" }]",
            ".interface[0]: no \"device\"",
        ),
        (
            "version = 1\npool = [{ name = \"a\", backend = [{ address = \"::1\", weight = 101 }] }]",
            ".pool[0].backend[0].weight",
        ),
        (
            "version = 1\nvirtual_server = [{ name = \"a\", address = \"::1\", port = 1, mode = \"nat\" }]",
            ".mode",
        ),
    ] {
        let found = check(text).unwrap_or_else(|| panic!("{text} fits"));
        assert!(found.contains(place), "{text}: {found}");
    }
}

#[test]
fn defaults_and_examples_fit_their_own_keys() {
    fn visit(schema: &Value, at: &str, count: &mut usize) {
        let own = schema["examples"].as_array().into_iter().flatten();
        for value in own.chain(schema.get("default")) {
            // The defaults of a section are those of its keys.
            if *value != json!({}) {
                assert_eq!(misfit(schema, value), None, "{at}");
                *count += 1;
            }
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            visit(property, &format!("{at}.{name}"), count);
        }
        if let Some(items) = schema.get("items") {
            visit(items, at, count);
        }
    }
    let mut count = 0;
    visit(&json_schema(), "", &mut count);
    assert!(count > 60, "{count}");
}
