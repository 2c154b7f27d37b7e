//! The storage service: objects of one bucket, written on conditions.

use std::collections::BTreeMap;

use super::caller;
use super::http::{Answer, Request};
use super::state::State;

/// The bucket's name.
pub const BUCKET: &str = "journal";

/// What is in the bucket.
#[derive(Default)]
pub struct Objects {
    /// Texts by key, each with the number of its writing.
    pub all: BTreeMap<String, (u64, String)>,
    written: u64,
    /// Whether nothing can be read or written.
    pub down: bool,
    /// Conditions that did not hold.
    pub refused: u64,
}

pub fn answer(state: &mut State, request: &Request) -> Answer {
    let says = |status, body: &str, etag| Answer {
        status,
        body: body.to_owned(),
        etag,
    };
    if state.objects.down {
        return says(503, "<Error><Code>SlowDown</Code></Error>", None);
    }
    if let Err((status, code, _)) = caller(state, request, "s3") {
        return says(status, &format!("<Error><Code>{code}</Code></Error>"), None);
    }
    let Some(key) = request.path.strip_prefix(&format!("/{BUCKET}/")) else {
        return says(404, "<Error><Code>NoSuchBucket</Code></Error>", None);
    };
    let objects = &mut state.objects;
    let tag = |number: u64| format!("\"{number:032x}\"");
    let there = objects.all.get(key).map(|(number, _)| tag(*number));
    match request.method.as_str() {
        "GET" => match objects.all.get(key) {
            Some((number, text)) => says(200, text, Some(tag(*number))),
            // Who may not list a bucket does not learn what is not there.
            None => says(403, "<Error><Code>AccessDenied</Code></Error>", None),
        },
        "PUT" => {
            let new = request.header("if-none-match") == "*";
            let was = request.header("if-match");
            if (new && there.is_some()) || (!was.is_empty() && there.as_deref() != Some(was)) {
                objects.refused += 1;
                return says(412, "<Error><Code>PreconditionFailed</Code></Error>", None);
            }
            objects.written += 1;
            let object = (objects.written, request.body.clone());
            objects.all.insert(key.to_owned(), object);
            says(200, "", Some(tag(objects.written)))
        }
        _ => says(405, "", None),
    }
}
