//! The OpenAPI document says what the daemon does.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::client::http as web;
use forwarder_lab::json_schema::misfit_at;
use forwarder_lab::{run_as, wait_until};
use serde_json::{Value, json};

use super::world::{DNAT, File, LIMIT, World, http};

const USER: u32 = 65_534;
const WRITERS: u32 = 65_532;
const READERS: u32 = 65_533;

const FULL: &str = "[[pool]]\nname = \"full\"\n[[pool.backend]]\naddress = \"192.0.2.11\"\nport = 8080\n\
     [[virtual_server]]\nname = \"full\"\naddress = \"203.0.113.14\"\nport = 80\n\
     mode = \"full-nat\"\npool = \"full\"\nsnat = \"automap\"\n";

/// Status and body of an answer.
fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    // All at once: who is refused by the head alone finds the door closed to the body.
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The document that a daemon gives.
fn document(world: &World) -> Result<Value> {
    let (status, text) = ask(world.forwarder.socket(), "GET", "/v1/openapi.json", "")?;
    ensure!(status == 200, "{status} {text}");
    let given: Value = serde_json::from_str(&text)?;
    let printed = Command::new(env!("CARGO_BIN_EXE_forwarder"))
        .arg("api")
        .output()?;
    let printed: Value = serde_json::from_slice(&printed.stdout)?;
    ensure!(given == printed, "it prints another document than it gives");
    Ok(given)
}

/// Path, method in capitals, and pointer to the operation, for each.
fn operations(document: &Value) -> Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for method in methods.as_object().context("methods")?.keys() {
            let pointer = format!("/paths/{}/{method}", path.replace('/', "~1"));
            found.push((path.clone(), method.to_ascii_uppercase(), pointer));
        }
    }
    ensure!(found.len() >= 11, "{found:?}");
    Ok(found)
}

/// Bodies that the daemon has an answer for.
fn body(path: &str) -> Value {
    match path {
        "/v1/trace" => {
            json!({ "packet": "tcp 198.51.100.7:4000 -> 203.0.113.10:80", "interface": "eth0" })
        }
        "/v1/override" => json!({ "pool": "web", "backend": "b1", "weight": 7 }),
        "/v1/plan" => {
            let text = File::base().third().extra().text();
            json!({ "file": "new.toml", "text": text, "node": null })
        }
        _ => json!({}),
    }
}

#[test]
fn every_answer_is_what_the_document_says() -> Result<()> {
    let file = File {
        more: FULL.to_owned(),
        ..File::base()
    };
    let world = World::start(&file)?;
    let socket = world.forwarder.socket();
    let document = document(&world)?;

    // Something of everything is there to be shown: a flow, counters, an override, a failed reload.
    let mut open = Vec::new();
    for vip in [DNAT, 14] {
        let mut connection = world
            .site
            .client
            .run(|| web::Connection::open(http(vip), LIMIT))?;
        world.site.client.run(|| connection.get("/"))?;
        open.push(connection);
    }
    world.run(&["pool", "drain", "full", "192.0.2.11"])?;
    let text = std::fs::read_to_string(world.forwarder.config())?;
    world.replace("nonsense")?;
    world.refused(&["reload"])?;
    world.replace(&text)?;
    wait_until("a flow and an event are shown", LIMIT, || {
        let shown = |path, pointer| {
            let (_, body) = ask(socket, "GET", path, "").ok()?;
            let answer: Value = serde_json::from_str(&body).ok()?;
            Some(!answer[pointer].as_array()?.is_empty())
        };
        shown("/v1/flows", "flows") == Some(true) && shown("/v1/history", "events") == Some(true)
    })?;

    for (path, method, pointer) in operations(&document)? {
        let carries = format!("{pointer}/requestBody/content/application~1json/schema");
        let body = if document.pointer(&carries).is_some() {
            let body = body(&path);
            ensure!(
                misfit_at(&document, &carries, &body).is_none(),
                "{path} {body}"
            );
            let unknown = json!({ "no-such-property": 1 });
            ensure!(misfit_at(&document, &carries, &unknown).is_some(), "{path}");
            let (status, refused) = ask(socket, &method, &path, &unknown.to_string())?;
            ensure!(status == 400, "{path}: {status} {refused}");
            body.to_string()
        } else {
            String::new()
        };
        let (status, answer) = ask(socket, &method, &path, &body)?;
        if path == "/v1/pair" {
            // This node has no peer.
            ensure!(status == 422, "{path}: {status} {answer}");
            continue;
        }
        ensure!(status == 200, "{path}: {status} {answer}");
        let content = document.pointer(&format!("{pointer}/responses/200/content"));
        let content = content.and_then(Value::as_object).context("content")?;
        ensure!(content.len() == 1, "{path}: {content:?}");
        if path == "/metrics" {
            ensure!(content.contains_key("text/plain"), "{content:?}");
        } else if path != "/v1/openapi.json" {
            let schema = format!("{pointer}/responses/200/content/application~1json/schema");
            let answer = serde_json::from_str(&answer)?;
            let misfit = misfit_at(&document, &schema, &answer);
            ensure!(misfit.is_none(), "{path}: {misfit:?}\n{answer:#}");
        }
    }

    // Whatever is refused says why in one form.
    for (method, path, body, wanted) in [
        ("GET", "/v1/nothing", "", 404),
        ("GET", "/v1", "", 404),
        ("POST", "/v1/status", "{}", 405),
        ("GET", "/v1/reload", "", 405),
        ("HEAD", "/v1/openapi.json", "", 405),
        ("GET", "/v1/flows?no-such=1", "", 400),
        ("POST", "/v1/trace", "nonsense", 400),
        (
            "POST",
            "/v1/plan",
            "{\"file\":\"f\",\"text\":\"nonsense\"}",
            422,
        ),
    ] {
        let (status, answer) = ask(socket, method, path, body)?;
        ensure!(status == wanted, "{method} {path}: {status} {answer}");
        if method != "HEAD" {
            let failure = "/components/responses/Failure/content/application~1json/schema";
            let answer = serde_json::from_str(&answer)?;
            let misfit = misfit_at(&document, failure, &answer);
            ensure!(misfit.is_none(), "{method} {path}: {misfit:?}");
        }
    }
    Ok(())
}

#[test]
fn everybody_may_ask_what_the_document_says() -> Result<()> {
    let file = File {
        more: format!("[admin]\ngroup = \"{WRITERS}\"\nread_group = \"{READERS}\"\n"),
        ..File::base()
    };
    let world = World::start(&file)?;
    let socket = world.forwarder.socket();
    let document = document(&world)?;
    let as_member =
        |group, method: &str, path: &str| run_as(USER, group, || ask(socket, method, path, "{}"));
    for (path, method, pointer) in operations(&document)? {
        let access = &document.pointer(&pointer).context("the operation")?["x-access"];
        let (status, answer) = as_member(READERS, &method, &path)?;
        match access.as_str() {
            Some("read-only") => ensure!(status != 403, "{path}: {answer}"),
            Some("read-write") => ensure!(status == 403, "{path}: {status} {answer}"),
            _ => ensure!(false, "{path}: {access}"),
        }
        let (status, answer) = as_member(WRITERS, &method, &path)?;
        ensure!(status != 403, "{path}: {answer}");
        let (status, answer) = as_member(USER, &method, &path)?;
        ensure!(status == 403, "{path}: {status} {answer}");
    }
    Ok(())
}
