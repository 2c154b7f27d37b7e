//! The sections as a JSON Schema, for editors that complete and check TOML.

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::schema;
use super::section::{Key, Presence, Section};
use super::value::Shape;

/// The schema of the whole file, draft 2020-12. It says what single keys and values look like; what
/// contradicts what is said by the check alone.
pub fn json_schema() -> Value {
    let Value::Object(mut root) = table(&schema::Document::section()) else {
        return Value::Null;
    };
    root.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    root.insert("title".into(), "forwarder.toml".into());
    root.into()
}

fn table(section: &Section) -> Value {
    let keys = section.keys.iter();
    let properties: Map<String, Value> =
        keys.map(|each| (each.name.to_owned(), key(each))).collect();
    let keys = section.keys.iter();
    let required: Vec<&str> = keys
        .filter(|key| matches!(key.presence, Presence::Required))
        .map(|key| key.name)
        .collect();
    json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn key(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    if let Value::Object(schema) = &mut schema {
        let about = match key.presence {
            Presence::Optional(words) => format!("{} Default: {words}.", key.about),
            _ => key.about.clone(),
        };
        schema.insert("description".into(), about.into());
        if let Some(example) = value(key.example) {
            schema.insert("examples".into(), json!([example]));
        }
        if let Presence::Default(toml) = key.presence
            && let Some(default) = value(toml)
        {
            schema.insert("default".into(), default);
        }
    }
    schema
}

fn shape(of: &Shape) -> Value {
    match of {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(low, high) => {
            json!({ "type": "integer", "minimum": low, "maximum": high })
        }
        Shape::Text(_) => json!({ "type": "string" }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::List(inner) => {
            json!({ "type": "array", "items": shape(inner), "minItems": 1 })
        }
        Shape::OneOrMany(inner) => {
            let inner = shape(inner);
            let list = json!({ "type": "array", "items": inner, "minItems": 1 });
            json!({ "anyOf": [inner, list] })
        }
        Shape::PerNode(inner) => {
            let inner = shape(inner);
            let nodes = json!({ "type": "object", "additionalProperties": inner });
            json!({ "anyOf": [inner, nodes] })
        }
        Shape::Either(one, other) => json!({ "anyOf": [shape(one), shape(other)] }),
        Shape::Table(section) => table(section),
        Shape::Tables(section) => json!({ "type": "array", "items": table(section) }),
    }
}

/// TOML as JSON; `None`: not all of it can be.
fn value(toml: &str) -> Option<Value> {
    json_of(DeValue::parse(toml).ok()?.get_ref())
}

fn json_of(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => number.to_string().parse::<i64>().ok()?.into(),
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Array(list) => list
            .iter()
            .map(|each| json_of(each.get_ref()))
            .collect::<Option<Vec<_>>>()?
            .into(),
        DeValue::Table(table) => json_of_table(table)?,
        DeValue::Float(_) | DeValue::Datetime(_) => return None,
    })
}

/// A parsed file as JSON, as a schema takes it; `None`: it holds what JSON lacks.
fn json_of_table(table: &DeTable<'_>) -> Option<Value> {
    let entries = table.iter();
    let entries = entries.map(|(key, value)| {
        let key: &str = key.get_ref();
        Some((key.to_owned(), json_of(value.get_ref())?))
    });
    entries.collect::<Option<Map<_, _>>>().map(Value::Object)
}

#[cfg(test)]
mod tests;
