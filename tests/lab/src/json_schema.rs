//! Whether a value fits a JSON Schema: the keywords that this project's schemas use and no others.

use serde_json::Value;

const KNOWN: [&str; 17] = [
    "$schema",
    "$ref",
    "title",
    "description",
    "examples",
    "default",
    "format",
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

/// Where a value does not fit. References are looked up in `schema`. A property that a schema does not
/// name is a misfit even where it would be allowed: what is not described is not meant to be there.
///
/// # Panics
/// If the schema has a keyword that is not checked here, or a reference that leads nowhere.
pub fn misfit(schema: &Value, value: &Value) -> Option<String> {
    Check { root: schema }.misfit(schema, value, "")
}

/// The same with a schema that is found in a document by a pointer such as `/components/schemas/Status`.
///
/// # Panics
/// As [`misfit`], and if there is nothing there.
pub fn misfit_at(document: &Value, pointer: &str, value: &Value) -> Option<String> {
    let schema = document.pointer(pointer);
    let schema = schema.unwrap_or_else(|| panic!("there is nothing at {pointer}"));
    Check { root: document }.misfit(schema, value, "")
}

struct Check<'a> {
    root: &'a Value,
}

impl Check<'_> {
    fn misfit(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let object = schema.as_object().expect("a schema");
        for keyword in object.keys() {
            let known = KNOWN.contains(&keyword.as_str());
            assert!(known, "{keyword} is not checked here");
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#').expect("a reference within");
            let target = self.root.pointer(target);
            let target = target.unwrap_or_else(|| panic!("{reference} leads nowhere"));
            return self.misfit(target, value, at);
        }
        let any = schema["anyOf"].as_array().is_none_or(|schemas| {
            let mut fits = schemas.iter().map(|each| self.misfit(each, value, at));
            fits.any(|found| found.is_none())
        });
        if !(any
            && is_of_type(schema, value)
            && is_listed(schema, value)
            && is_bounded(schema, value))
        {
            return Some(format!("{at}: {value}"));
        }
        self.misfit_of_entry(schema, value, at)
            .or_else(|| self.misfit_of_item(schema, value, at))
    }

    fn misfit_of_entry(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let entries = value.as_object()?;
        if schema.get("anyOf").is_some() {
            return None;
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if !entries.contains_key(name.as_str().expect("a name")) {
                return Some(format!("{at}: no {name}"));
            }
        }
        entries.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            let of_name = &schema["properties"][name];
            let of_others = &schema["additionalProperties"];
            match (of_name, of_others) {
                (Value::Null, others) if !others.is_object() => Some(at),
                (Value::Null, others) => self.misfit(others, value, &at),
                (property, _) => self.misfit(property, value, &at),
            }
        })
    }

    fn misfit_of_item(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let list = value.as_array()?;
        if list.is_empty() && schema["minItems"] == 1 {
            return Some(format!("{at}: empty"));
        }
        let items = schema.get("items")?;
        let mut list = list.iter().enumerate();
        list.find_map(|(index, each)| self.misfit(items, each, &format!("{at}[{index}]")))
    }
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    let is = |word: &Value| match word.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        other => panic!("type {other:?}"),
    };
    match &schema["type"] {
        Value::Null => true,
        Value::Array(words) => words.iter().any(is),
        word => is(word),
    }
}

fn is_listed(schema: &Value, value: &Value) -> bool {
    let words = schema["enum"].as_array();
    words.is_none_or(|words| words.contains(value))
}

fn is_bounded(schema: &Value, value: &Value) -> bool {
    let number = |value: &Value| {
        value
            .as_i64()
            .map(i128::from)
            .or(value.as_u64().map(i128::from))
    };
    number(value).is_none_or(|is| {
        number(&schema["minimum"]).is_none_or(|low| low <= is)
            && number(&schema["maximum"]).is_none_or(|high| is <= high)
    })
}
