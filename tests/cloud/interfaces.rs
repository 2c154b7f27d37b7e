//! A network interface that moves as a whole, with all that is at it.

use forwarder_lab::Family;
use forwarder_lab::cloud::{FaultKind, instance};
use forwarder_lab::nodes::NODES;
use forwarder_lab::site::ECHO;

use super::world::World;

const CARD: &str = "eni-9";

/// A VIP at a network interface of its own, beside all else that moves.
fn world() -> World {
    let [own, vip] = [61, 60].map(|number| Family::V4.vip(number));
    let interface = format!(
        "interface = [{{ name = \"partner\", device = \"eth4\", address = \"{}\", gateway = \"{}\" }}, ",
        Family::V4.in_subnet(own),
        Family::V4.router(),
    );
    let refresh = "refresh = \"1s\"";
    let moves = format!(
        "{refresh}, interface = [{{ tag = \"use=partner\", interface = \"partner\", device_index = 2 }}]"
    );
    let server = format!(
        "[[virtual_server]]\nname = \"partner\"\naddress = \"{vip}\"\nport = {ECHO}\nprotocol = \"udp\"\n\
         mode = \"full-nat\"\nsnat = \"automap\"\npool = \"ipv4\"\ninterfaces = [\"partner\"]\n"
    );
    let edit = |config: String| {
        let config = config.replacen("interface = [", &interface, 1);
        config.replacen(refresh, &moves, 1) + &server
    };
    World::with(edit, &[vip], |cloud, nodes| {
        cloud
            .card(nodes, ("use", "partner"), own, &[vip])
            .expect("a card");
    })
}

/// Calls of a node about attachments: action, and what is told of force.
fn calls(world: &World, node: usize) -> Vec<(String, Option<String>)> {
    let called = world.cloud.called().into_iter();
    let called = called.filter(|call| call.node == node && call.refused.is_none());
    called
        .filter(|call| call.action.ends_with("NetworkInterface"))
        .map(|call| (call.action, call.parameters.get("Force").cloned()))
        .collect()
}

fn has_card(world: &World, node: usize) -> bool {
    world.nodes.host(node).mac("eth4").is_ok()
}

/// The active node dies, and the card is taken from it by force; alive it is asked for it; and where it dies when it
/// was asked, it is not waited for.
#[test]
fn a_network_interface_moves_and_comes_back() {
    let mut world = world();
    let problems = world.nodes.problems(1);
    assert!(
        !problems.join("\n").contains("eth4"),
        "it is not missed: {problems:?}"
    );
    let told = world
        .nodes
        .running(1)
        .and_then(|node| node.run(&["failover", "--dry-run"]));
    let told = String::from_utf8_lossy(&told.expect("it answers").stdout).into_owned();
    for line in [
        format!("DetachNetworkInterface {CARD} ← {}", instance(0)),
        format!("AttachNetworkInterface {CARD} → {}", instance(1)),
    ] {
        let allowed = format!("{line}, now at {}: allowed", instance(0));
        assert!(told.contains(&allowed), "{told}");
    }

    // An answer that is lost on the way is no reason to wait.
    let lost = FaultKind::Lost;
    world.cloud.fail("AttachNetworkInterface", Some(1), 1, lost);
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    assert!(has_card(&world, 1) && !has_card(&world, 0));
    let forced = calls(&world, 1);
    let detach = |force: &str| ("DetachNetworkInterface".to_owned(), Some(force.to_owned()));
    assert_eq!(forced[0], detach("true"), "{forced:?}");
    let last = world.journal(NODES[1]).pop().expect("a line");
    let attached = last["calls"].as_array().and_then(|calls| calls.last());
    let attached = attached.expect("a call");
    assert_eq!(attached["action"], "AttachNetworkInterface", "{last}");
    assert_eq!(attached["from"][0], instance(0), "{last}");

    world.come_back();
    world.give_back();
    assert!(has_card(&world, 0) && !has_card(&world, 1));
    let asked = calls(&world, 0);
    assert_eq!(asked[0], detach("false"), "{asked:?}");

    // Its machine answers, and does not let go.
    let before = calls(&world, 1).len();
    world
        .cloud
        .change(|things| things.hung.extend([0]))
        .expect("change");
    world
        .nodes
        .command(0, &["failover", "--to", NODES[1]])
        .unwrap_or_else(|error| panic!("{error:#}"));
    let since = |world: &World| calls(world, 1).split_off(before);
    world.wait("it is asked", || since(&world) == [detach("false")]);
    world.die();
    world.wait_for_owner(1, &[1]);
    world.wait_for_answers();
    let attach = ("AttachNetworkInterface".to_owned(), None);
    assert_eq!(since(&world), [detach("false"), detach("true"), attach]);
}
