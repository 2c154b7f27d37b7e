//! Commands that look inside: what they show is what is there, for people and for programs.

use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::client::http as web;
use forwarder_lab::{Family, wait_until};
use serde_json::{Value, json};

use super::world::{DNAT, File, LIMIT, World, http, said};

/// A virtual server that takes its source from automap, and one that nobody serves.
const MORE: &str = "[[pool]]\nname = \"full\"\n[[pool.backend]]\naddress = \"192.0.2.11\"\nport = 8080\n\
     [[virtual_server]]\nname = \"full\"\naddress = \"203.0.113.14\"\nport = 80\n\
     mode = \"full-nat\"\npool = \"full\"\nsnat = \"automap\"\n";

fn start() -> Result<World> {
    World::start(&File {
        more: MORE.to_owned(),
        ..File::base()
    })
}

/// The exit code and the line of `status --check`.
fn check(world: &World) -> Result<(Option<i32>, String)> {
    let output = world.forwarder.run(&["status", "--check"])?;
    ensure!(output.stderr.is_empty(), "{}", said(&output));
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

#[test]
fn every_view_shows_what_is_there() -> Result<()> {
    let world = start()?;
    for vip in [DNAT, 14] {
        for _ in 0..10 {
            world.site.client.run(|| web::get(http(vip), "/", LIMIT))?;
        }
    }
    let status = world.forwarder.status()?;

    let vips = world.json(&["vip"])?;
    ensure!(vips.as_array().map(Vec::len) == Some(5), "{vips:#}");
    let one = world.json(&["vip", "web"])?;
    ensure!(
        one[0]["name"] == "web" && one[0]["in"]["packets"].as_u64() >= Some(50),
        "{one:#}"
    );
    let by_address = world.json(&["vip", &Family::V4.vip(DNAT).to_string()])?;
    ensure!(
        by_address.as_array().map(Vec::len) == Some(2),
        "{by_address:#}"
    );
    let text = world.run(&["vip", "web"])?;
    ensure!(text.contains("2 of 2") && text.contains("b1"), "{text}");

    let pools = world.json(&["pool"])?;
    ensure!(pools[0]["backends"][0]["name"] == "b1", "{pools:#}");
    let text = world.run(&["pool", "web"])?;
    for part in ["192.0.2.11", "8080", "eth1", "USABLE"] {
        ensure!(text.contains(part), "no {part} in\n{text}");
    }
    let interfaces = world.json(&["interface", "eth0"])?;
    ensure!(interfaces[0]["name"] == "outside", "{interfaces:#}");
    ensure!(world.run(&["interface"])?.contains("FORWARDED"));

    let said = world.refused(&["vip", "wob"])?;
    ensure!(
        said.contains("there is no virtual server wob; there are: web, echo"),
        "{said}"
    );

    // A packet that is dropped shows up with its reason and what to do.
    world.run(&["pool", "disable", "full", "192.0.2.11"])?;
    let refused = world
        .site
        .client
        .run(|| web::get(http(14), "/", std::time::Duration::from_millis(300)));
    ensure!(refused.is_err());
    let drops = world.json(&["drops"])?;
    let drops = drops.as_array().context("a list")?;
    let found = drops
        .iter()
        .find(|each| each["reason"] == "drop-no-backend");
    ensure!(
        found.is_some_and(|each| each["packets"].as_u64() >= Some(1)),
        "{drops:?}"
    );
    let text = world.run(&["drops"])?;
    ensure!(text.contains("forwarder explain drop-"), "{text}");

    // As monitoring sees it.
    let (code, line) = check(&world)?;
    ensure!(
        code == Some(2) && line.starts_with("FORWARDER CRITICAL - "),
        "{line}"
    );
    ensure!(
        line.contains("virtual server full: no usable backend"),
        "{line}"
    );
    ensure!(line.lines().count() == 1, "{line}");
    world.run(&["reload"])?;
    let mut last = (None, String::new());
    wait_until("all is well", LIMIT, || {
        last = check(&world).unwrap_or_default();
        last.0 == Some(0)
    })
    .with_context(|| last.1.clone())?;
    ensure!(
        last.1
            .starts_with("FORWARDER OK - 5 virtual servers, 7 of 7 backends"),
        "{last:?}"
    );
    world.replace("nonsense")?;
    world.refused(&["reload"])?;
    let (code, line) = check(&world)?;
    ensure!(
        code == Some(1) && line.starts_with("FORWARDER WARNING - "),
        "{line}"
    );
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_forwarder"));
    let nobody = nobody
        .args(["status", "--check", "--socket", "/nowhere.sock"])
        .output()?;
    ensure!(nobody.status.code() == Some(3), "{nobody:?}");
    ensure!(
        nobody.stdout.starts_with(b"FORWARDER UNKNOWN - "),
        "{nobody:?}"
    );

    // Tables of ordinary names fit 100 columns; YAML says what JSON says.
    for view in [
        &["status"][..],
        &["vip"],
        &["vip", "web"],
        &["pool"],
        &["pool", "web"],
        &["interface"],
        &["interface", "inside"],
        &["snat"],
        &["flow"],
    ] {
        let text = world.run(view)?;
        let widest = text.lines().map(|line| line.chars().count()).max();
        ensure!(widest <= Some(100), "{view:?}: {widest:?}\n{text}");
        ensure!(!text.contains('\x1b'), "{view:?} is no terminal");
        let yaml = world.run(&[view, &["-o", "yaml"]].concat())?;
        ensure!(yaml.contains(": "), "{yaml}");
    }
    let config = status["config"].as_str().context("a path")?;
    let yaml = world.run(&["status", "-o", "yaml"])?;
    ensure!(yaml.contains(&format!("config: \"{config}\"\n")), "{yaml}");
    Ok(())
}

#[test]
fn flows_are_found_and_counted() -> Result<()> {
    let world = start()?;
    let client = Family::V4.client().to_string();
    // They stay open while they are looked at.
    let open = |vip| {
        let open = || web::Connection::open(http(vip), LIMIT);
        (0..5)
            .map(|_| world.site.client.run(open))
            .collect::<Result<Vec<_>>>()
    };
    let mut connections = open(DNAT)?;
    connections.extend(open(14)?);
    for connection in &mut connections {
        world.site.client.run(|| connection.get("/"))?;
    }
    let flows = |words: &[&str]| world.json(&[&["flow"], words].concat());
    let list = |answer: &Value| answer["flows"].as_array().cloned().unwrap_or_default();

    let all = flows(&["--address", &client, "--state", "established"])?;
    ensure!(list(&all).len() == 10 && all["more"] == false, "{all:#}");
    let full = flows(&["--address", "203.0.113.14"])?;
    for flow in list(&full) {
        ensure!(
            flow["rule"] == "full" && flow["backend"] == "full/192.0.2.11:8080",
            "{flow:#}"
        );
        ensure!(flow["to"] == "192.0.2.11:8080" && flow["destination"] == "203.0.113.14:80");
        ensure!(flow["source"] != flow["client"], "{flow:#}");
        ensure!(
            flow["protocol"] == "tcp" && flow["state"] == "established",
            "{flow:#}"
        );
    }
    ensure!(list(&full).len() == 5, "{full:#}");
    let end = full["flows"][0]["client"].as_str().context("an end")?;
    let (_, port) = end.rsplit_once(':').context("a port")?;
    ensure!(list(&flows(&["--port", port])?).len() == 1);
    let few = flows(&["--limit", "3"])?;
    ensure!(list(&few).len() == 3 && few["more"] == true, "{few:#}");
    let count = flows(&["--address", &client, "--state", "established", "--count"])?;
    ensure!(
        count == json!({ "count": 10, "more": false, "flows": [] }),
        "{count:#}"
    );
    let none = world.run(&["flow", "--address", "192.0.2.99"])?;
    ensure!(none.contains("no such NAT flow"), "{none}");

    drop(connections);
    wait_until("they are closing", LIMIT, || {
        let closing = flows(&["--address", &client, "--state", "closing", "--count"]);
        closing.is_ok_and(|closing| closing["count"] == 10)
    })?;

    wait_until("SNAT ports in use are counted", LIMIT, || {
        let snat = world.json(&["snat", "automap inside"]).unwrap_or_default();
        let [in_use, of] = ["tcp_in_use", "ports"].map(|key| snat["pools"][0][key].as_u64());
        in_use >= Some(1) && in_use <= Some(5) && of == Some(16_384)
    })?;
    Ok(())
}

#[test]
fn status_is_shown_again_while_it_is_watched() -> Result<()> {
    let world = World::start(&File::base())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_forwarder"));
    command
        .args(["status", "--watch=1", "--socket"])
        .arg(world.forwarder.socket());
    let mut watching = command.stdout(Stdio::piped()).spawn()?;
    let mut output = watching.stdout.take().context("its output")?;
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while text.matches("generation 1").count() < 2 {
        let read = output.read(&mut chunk)?;
        ensure!(read > 0, "it ended:\n{text}");
        text += &String::from_utf8_lossy(&chunk[..read]);
    }
    watching.kill()?;
    watching.wait()?;
    Ok(())
}
