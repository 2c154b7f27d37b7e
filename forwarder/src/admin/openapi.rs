//! The OpenAPI document of the admin socket, made from the table of routes and the types that go over it.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::access::Rights;
use super::routes::{Answer, Ask, Route, SchemaOf};

const DESCRIPTION: &str = "HTTP/1.1 with JSON over a unix socket; one request a connection. \
    Who asks is known by its user and groups, as the kernel says. `x-access` says what each question takes: \
    `read-only` is for whoever may look, `read-write` for whoever may change things and see secrets. \
    Answers may get more properties in later versions; requests with unknown ones are refused.";

/// What may be asked, and what comes back: OpenAPI 3.1.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    // What may be left out of a request is always there in an answer.
    let mut requests = settings.clone().for_deserialize().into_generator();
    let mut answers = settings.for_serialize().into_generator();
    let failure = answers.subschema_for::<super::api::Failure>();
    let mut paths = Map::new();
    for ask in Ask::ALL {
        let route = ask.route();
        let operation = operation(ask, &route, &mut requests, &mut answers);
        let method = route.method.to_ascii_lowercase();
        paths.insert(route.path.into(), json!({ method: operation }));
    }
    let mut schemas = requests.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "forwarder admin socket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{
            "url": "http://localhost",
            "description": format!("Any host name does; connect to {}", super::DEFAULT_SOCKET),
        }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Failure": {
                    "description": "400: the request cannot be read; 403: not for who asks; 404, 405: no such question; \
                        422: the daemon says no; 503: it is busy or stopping",
                    "content": { "application/json": { "schema": failure } },
                },
            },
        },
    })
}

/// What a route takes, in the words of the document.
pub fn access(rights: Rights) -> &'static str {
    match rights {
        Rights::Write => "read-write",
        Rights::Read | Rights::None => "read-only",
    }
}

fn operation(
    ask: Ask,
    route: &Route,
    requests: &mut SchemaGenerator,
    answers: &mut SchemaGenerator,
) -> Value {
    let content = match route.answer {
        Answer::Json(schema) => json!({ "application/json": { "schema": schema(answers) } }),
        Answer::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
        Answer::Metrics => json!({ "text/plain": { "schema": { "type": "string" } } }),
    };
    let mut operation = json!({
        "operationId": format!("{ask:?}").to_lowercase(),
        "summary": route.about,
        "x-access": access(route.rights),
        "responses": {
            "200": { "description": "It went well", "content": content },
            "default": { "$ref": "#/components/responses/Failure" },
        },
    });
    if let Some(query) = route.query {
        operation["parameters"] = parameters(query);
    }
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": body(requests) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The properties of a type as parameters of a query, each of which may be absent.
fn parameters(query: SchemaOf) -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = query(&mut settings.into_generator()).to_value();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let parameters = properties.map(|(name, property)| {
        let mut schema = property.clone();
        let about = schema.as_object_mut().and_then(|of| of.remove("description"));
        // Absent is how a query says null.
        if let Some(one) = schema["type"].get(0).cloned() {
            schema["type"] = one;
        }
        json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
    });
    parameters.collect()
}

#[cfg(test)]
mod tests;
