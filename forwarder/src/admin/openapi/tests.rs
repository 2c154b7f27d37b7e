//! The document holds what the table of routes holds, and is well made.

use super::*;

fn operation(document: &Value, route: &Route) -> Value {
    document["paths"][route.path][route.method.to_ascii_lowercase()].clone()
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), Ask::ALL.len());
    for ask in Ask::ALL {
        let route = ask.route();
        assert_eq!(Ask::at(route.path), Some(ask), "two at {}", route.path);
        let methods = paths[route.path].as_object().expect("methods");
        assert_eq!(methods.len(), 1, "{}", route.path);
        let operation = operation(&document, &route);
        assert_eq!(
            operation["x-access"],
            access(route.rights),
            "{}",
            route.path
        );
        assert_eq!(operation["requestBody"].is_object(), route.method == "POST");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_referred_to() {
    fn visit(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                found.extend(
                    entries
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                entries.values().for_each(|value| visit(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| visit(value, found)),
            _ => (),
        }
    }
    let document = document();
    let mut references = Vec::new();
    visit(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    for (name, schema) in schemas {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&reference), "nothing refers to {name}");
        // An answer always has all its properties.
        let is_answer = !name.ends_with("Request");
        let count = |key: &str| match &schema[key] {
            Value::Object(entries) => entries.len(),
            Value::Array(list) => list.len(),
            _ => 0,
        };
        assert!(
            !is_answer || count("properties") == count("required"),
            "{name}"
        );
        let about = schema["properties"].as_object().into_iter().flatten();
        for (key, property) in about {
            assert!(property["description"].is_string(), "{name}.{key}");
        }
    }
}

#[test]
fn parameters_are_what_a_query_takes() {
    use super::super::api::FlowQuery;
    let document = document();
    let route = Ask::Flows.route();
    let parameters = operation(&document, &route)["parameters"].clone();
    let parameters = parameters.as_array().expect("parameters");
    assert_eq!(parameters.len(), 5);
    for parameter in parameters {
        let name = parameter["name"].as_str().expect("a name");
        let schema = &parameter["schema"];
        let good = match (&schema["type"], &schema["enum"][0], &schema["format"]) {
            (_, Value::String(word), _) => word.clone(),
            (Value::String(kind), _, _) if kind == "integer" => schema["maximum"].to_string(),
            (Value::String(kind), _, _) if kind == "boolean" => "true".to_owned(),
            (_, _, Value::String(format)) if format == "ip" => "2001:db8::1".to_owned(),
            _ => panic!("{parameter}"),
        };
        FlowQuery::read(&format!("{name}={good}")).expect(name);
        if let Some(largest) = schema["maximum"].as_u64() {
            let beyond = format!("{name}={}", largest + 1);
            FlowQuery::read(&beyond).expect_err(&beyond);
        }
    }
}

#[test]
fn the_page_lists_every_route() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (before, rest) = page.split_once("<!-- routes -->\n").expect("its mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("its end");
    let mut table = String::from("| question | what for | for whom |\n|---|---|---|\n");
    for ask in Ask::ALL {
        let route = ask.route();
        let (method, path, about) = (route.method, route.path, route.about);
        table += &format!(
            "| `{method} {path}` | {about} | {} |\n",
            access(route.rights)
        );
    }
    let expected = format!("{before}<!-- routes -->\n{table}<!-- end -->{after}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &expected).expect("a writable page");
    } else {
        assert_eq!(page, expected, "BLESS=1 writes it anew");
    }
}
