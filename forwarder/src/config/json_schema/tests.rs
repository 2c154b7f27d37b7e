//! Good files fit the schema, and wrong keys and values do not.

use super::*;
use crate::config::examples;

/// Where a value does not fit; the keywords that the schema uses and no others.
fn misfit(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let known = [
        "$schema",
        "title",
        "description",
        "examples",
        "default",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "enum",
        "anyOf",
        "minimum",
        "maximum",
    ];
    let object = schema.as_object().expect("a schema");
    for keyword in object.keys() {
        assert!(
            known.contains(&keyword.as_str()),
            "{keyword} is not checked here"
        );
    }
    let of_type = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("type {other}"),
    };
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|words| words.contains(value));
    let bounded = value.as_i64().is_none_or(|number| {
        schema["minimum"].as_i64().is_none_or(|low| low <= number)
            && schema["maximum"].as_i64().is_none_or(|high| number <= high)
    });
    let any = schema["anyOf"].as_array().is_none_or(|schemas| {
        schemas
            .iter()
            .any(|schema| misfit(schema, value, at).is_none())
    });
    if !(of_type && listed && bounded && any) {
        return Some(format!("{at}: {value}"));
    }
    if let Some(entries) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !entries.contains_key(name.as_str().expect("a name")) {
                return Some(format!("{at}: no {name}"));
            }
        }
        for (name, value) in entries {
            let at = format!("{at}.{name}");
            let inner = match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return Some(at),
                (Value::Null, Value::Null) => continue,
                (Value::Null, other) => other,
                (property, _) => property,
            };
            if let Some(found) = misfit(inner, value, &at) {
                return Some(found);
            }
        }
    }
    let list = value.as_array().into_iter().flatten();
    if value.as_array().is_some_and(Vec::is_empty) && schema["minItems"] == 1 {
        return Some(format!("{at}: empty"));
    }
    list.enumerate()
        .find_map(|(index, each)| misfit(schema.get("items")?, each, &format!("{at}[{index}]")))
}

fn check(text: &str) -> Option<String> {
    let table = DeTable::parse(text).expect("TOML");
    let json = json_of_table(table.get_ref()).expect("what JSON has too");
    misfit(&json_schema(), &json, "")
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
                assert_eq!(misfit(schema, value, at), None);
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
