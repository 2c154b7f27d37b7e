//! JSON values as YAML 1.2 documents, in block style.

use serde_json::Value;

/// The document, with a line end.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(list) if !list.is_empty() => items(&mut text, list, 0),
        Value::Object(map) if !map.is_empty() => entries(&mut text, map, 0),
        scalar => text = format!("{}\n", inline(scalar)),
    }
    text
}

fn items(text: &mut String, list: &[Value], depth: usize) {
    for item in list {
        *text += &format!("{:depth$}-", "");
        match item {
            Value::Object(map) if !map.is_empty() => {
                // The first key stands beside the dash.
                let mut inner = String::new();
                entries(&mut inner, map, depth + 2);
                *text += &format!(" {}", inner.trim_start());
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                items(text, inner, depth + 2);
            }
            scalar => *text += &format!(" {}\n", inline(scalar)),
        }
    }
}

fn entries(text: &mut String, map: &serde_json::Map<String, Value>, depth: usize) {
    for (key, value) in map {
        *text += &format!("{:depth$}{}:", "", string(key));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                entries(text, inner, depth + 2);
            }
            Value::Array(list) if !list.is_empty() => {
                text.push('\n');
                items(text, list, depth + 2);
            }
            scalar => *text += &format!(" {}\n", inline(scalar)),
        }
    }
}

/// A scalar, or an empty list or map.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        // JSON's other scalars, `[]` and `{}` are YAML's.
        other => other.to_string(),
    }
}

/// A string: plain where no reader could take it for something else, else in double quotes, where
/// JSON's escapes are YAML's.
fn string(text: &str) -> String {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let word = text.to_ascii_lowercase();
    let reserved = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    if first && text.chars().all(plain) && !reserved.contains(&word.as_str()) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_blocks_and_quotes_what_needs_it() {
        let value = json!({
            "name": "web", "port": 80, "off": "no", "empty": [], "none": null,
            "list": [{ "a": 1, "b": { "c": "x: y\n" } }, [1, "2"], "10.0.0.1"],
        });
        let wanted = "\
empty: []
list:
  - a: 1
    b:
      c: \"x: y\\n\"
  -
    - 1
    - \"2\"
  - \"10.0.0.1\"
name: web
none: null
\"off\": \"no\"
port: 80
";
        assert_eq!(text(&value), wanted);
        assert_eq!(text(&json!([])), "[]\n");
        assert_eq!(text(&json!("a b")), "\"a b\"\n");
    }
}
