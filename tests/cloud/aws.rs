//! A pair in a simulated cloud: at a takeover addresses move by calls of the API, and packets go where they are.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use forwarder_lab::cloud::{Cloud, FaultKind, Things, eni};
use forwarder_lab::nodes::{NODES, PATHS};
use forwarder_lab::pinned::{DIRECT, NAT};
use forwarder_lab::site::ECHO;
use forwarder_lab::{Family, Nodes, wait_until};
use serde_json::Value;

use super::host::{LIMIT, binary, said};
use super::world::World;

#[test]
fn addresses_move_by_calls_and_packets_follow() {
    let mut world = World::new();
    let before = world.cloud.called().len();
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    let called = world.cloud.called();
    let actions: Vec<_> = called[before..]
        .iter()
        .map(|call| call.action.as_str())
        .collect();
    // One call for all addresses of a network interface; IPv6 takes two more.
    let private = actions
        .iter()
        .filter(|action| **action == "AssignPrivateIpAddresses");
    assert_eq!(private.count(), 2, "{called:?}");
    let journal = world.journal(NODES[1]);
    let end = journal.last().expect("a line");
    assert_eq!(end["cause"], "peer-lost");
    assert_eq!(end["node"], NODES[1]);
    assert_eq!(end["calls"][0]["action"], "AssignPrivateIpAddresses");
    assert_eq!(end["calls"][0]["from"][0], eni(0, 0));
    assert_eq!(end["calls"][0]["to"], eni(1, 0));
    assert!(
        end["calls"]
            .as_array()
            .expect("calls")
            .iter()
            .all(|call| call["done"] == true)
    );
}

/// What goes wrong at each takeover; in the end the second node has everything, and the journal says how.
#[test]
fn calls_that_go_wrong_are_repeated() {
    let faults: [(&str, &'static str, u32, FaultKind); 6] = [
        (
            "a clock that is wrong for a while",
            "",
            6,
            FaultKind::Refused(400, "RequestExpired"),
        ),
        (
            "throttled",
            "",
            6,
            FaultKind::Refused(503, "RequestLimitExceeded"),
        ),
        (
            "errors of the server",
            "",
            6,
            FaultKind::Refused(500, "InternalError"),
        ),
        ("slow", "", 2, FaultKind::Slow(Duration::from_secs(5))),
        ("done, but not answered", "", 3, FaultKind::Lost),
        (
            "one of them alone",
            "AssignPrivateIpAddresses",
            3,
            FaultKind::Refused(500, "Unavailable"),
        ),
    ];
    let mut world = World::new();
    for (what, action, times, kind) in faults {
        world.cloud.fail(action, Some(1), times, kind);
        let gap = world.take_over();
        println!("{what}: nobody answered for {gap:?}");
        let journal = world.journal(NODES[1]);
        let last = journal.last().expect("a line");
        let calls = last["calls"].as_array().expect("calls");
        let tries: u64 = calls.iter().filter_map(|call| call["tries"].as_u64()).sum();
        assert!(tries > calls.len() as u64, "{what}: {last}");
        assert!(
            calls.iter().all(|call| call["done"] == true),
            "{what}: {last}"
        );
        assert!(
            world
                .cloud
                .state()
                .faults
                .iter()
                .all(|fault| fault.times == 0)
        );
        world.come_back();
        world.give_back();
    }
}

#[test]
fn what_is_not_allowed_is_said_and_taken_once_it_is() {
    let mut world = World::new();
    let denied = "AssignIpv6Addresses";
    world.cloud.state().denied.insert(denied.to_owned());
    let told = world
        .nodes
        .running(1)
        .and_then(|node| node.run(&["failover", "--dry-run"]));
    let told = said(&told.expect("it answers"));
    assert!(
        told.contains("NOT ALLOWED: UnauthorizedOperation"),
        "{told}"
    );
    assert!(
        told.contains(
            "AssignPrivateIpAddresses 203.0.113.10, 203.0.113.11 → eni-10, now at eni-00: allowed"
        ),
        "{told}"
    );

    world.die();
    world.wait("the rest is taken, and what is not is told", || {
        let status = world
            .nodes
            .running(1)
            .and_then(|node| node.status())
            .unwrap_or_default();
        let vip = Family::V4.vip(NAT);
        let holders = world.cloud.state().things.holders(vip);
        holders == [eni(1, 0)]
            && status["problems"]
                .to_string()
                .contains("UnauthorizedOperation")
    });
    world.cloud.state().denied.clear();
    world.wait_for_owner(1, &[1]);
    world.wait_for_answers();
    world.wait("no problem is left", || {
        let status = world
            .nodes
            .running(1)
            .and_then(|node| node.status())
            .unwrap_or_default();
        !status["problems"].to_string().contains("cloud")
    });
}

/// An address of another subnet: the API takes nothing of that call, nothing has moved, and it is told why.
#[test]
fn an_address_of_another_subnet_is_refused() {
    let mut nodes = Nodes::new(binary()).expect("the nodes");
    let cloud = Cloud::start(&nodes).expect("the cloud");
    let stray = "203.0.114.10";
    let config = nodes.config(Duration::from_millis(500), 3);
    let head = format!("version = 1\n{}", cloud.config());
    let head = head.replacen("private = [", &format!("private = [\"{stray}\", "), 1);
    let config = config.replacen("version = 1\n", &head, 1)
        + &format!(
            "[[virtual_server]]\nname = \"stray\"\naddress = \"{stray}\"\nport = {ECHO}\nprotocol = \"udp\"\n\
             mode = \"full-nat\"\nsnat = \"automap\"\npool = \"ipv4\"\n"
        );
    let secondary = || {
        let state = cloud.state();
        let all = state.things.interfaces.iter();
        all.map(|(id, each)| (id.clone(), each.secondary.clone()))
            .collect::<Vec<_>>()
    };
    let before = secondary();
    nodes
        .start(0, &config)
        .unwrap_or_else(|error| panic!("{error:#}"));
    nodes
        .wait_for_active(0)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let told = format!("{stray} does not fall within the subnet's address range");
    wait_until("it is told", LIMIT, || {
        nodes.problems(0).join("\n").contains(&told)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", nodes.diagnosis()));
    assert_eq!(secondary(), before);
}

/// Of each call: what becomes of it is known to the standby before it is needed.
#[test]
fn a_right_that_is_gone_is_known_before_it_is_needed() {
    let world = World::new();
    let metric = |name: &str, node: usize| -> Option<f64> {
        let running = world.nodes.running(node).expect("it runs");
        let page = said(&running.run(&["metrics"]).expect("it answers"));
        let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let allowed = "forwarder_cloud_rehearsals_total{result=\"allowed\"}";
    let refused = "forwarder_cloud_refused_calls{group=\"default\"}";
    world.wait("every call is rehearsed", || {
        metric(allowed, 1) >= Some(4.0) && metric(refused, 1) == Some(0.0)
    });
    assert_eq!(world.cloud.owner(), Some(0), "nothing has moved");
    // The old holder of an IPv6 address is asked to let go only when there is no other way.
    let denied = "UnassignIpv6Addresses";
    world.cloud.state().denied.insert(denied.to_owned());
    world.wait("it is told", || {
        let problems = world.nodes.problems(1).join("\n");
        problems.contains("cloud: a takeover of group default: UnassignIpv6Addresses")
            && problems.contains("would be refused: UnauthorizedOperation")
            && metric(refused, 1) > Some(0.0)
    });
    assert_eq!(
        metric(refused, 0),
        Some(0.0),
        "the active node needs no rehearsal"
    );
    world.cloud.state().denied.clear();
    world.wait("it is over", || {
        world.nodes.problems(1).is_empty() && metric(refused, 1) == Some(0.0)
    });
}

#[test]
fn the_new_active_node_dies_in_the_middle() {
    let mut world = World::new();
    // The last of its calls is done when it is dead, and when the other has everything again.
    let late = FaultKind::Slow(Duration::from_secs(8));
    world
        .cloud
        .fail("AssignPrivateIpAddresses", Some(1), 1, late);
    world.die();
    world.wait("a part is moved", || {
        let state = world.cloud.state();
        state.things.interfaces[&eni(1, 1)].secondary.len() > 1
            || state.things.interfaces[&eni(1, 0)].secondary.len() > 1
    });
    world.nodes.kill(1);
    world.come_back();
    world.wait_for_owner(0, &[0]);
    world.wait("the late call is done", || {
        let called = world.cloud.called();
        let late = called
            .iter()
            .filter(|call| call.node == 1 && call.refused.is_none());
        late.filter(|call| call.action == "AssignPrivateIpAddresses")
            .count()
            >= 2
    });
    world.wait_for_owner(0, &[0]);
    world.wait_for_answers();
    world.nothing_was_dropped();
}

#[test]
fn what_was_known_does_not_hold_any_more() {
    let mut world = World::of(|config| config.replacen("refresh = \"1s\"", "refresh = \"1h\"", 1));
    world
        .cloud
        .change(|things| {
            let moved = things.interfaces.remove(&eni(1, 0)).expect("it is there");
            things.interfaces.insert("eni-new".to_owned(), moved);
        })
        .expect("change");
    world
        .cloud
        .state()
        .keys
        .values_mut()
        .for_each(|key| key.expired = true);
    world.take_over();
    let called = world.cloud.called();
    let refused = |code: &str| {
        called
            .iter()
            .any(|call| call.refused.as_deref() == Some(code))
    };
    assert!(refused("InvalidNetworkInterfaceID.NotFound"), "{called:?}");
    let journal = world.journal(NODES[1]);
    assert_eq!(journal.last().expect("a line")["calls"][0]["to"], "eni-new");
}

#[test]
fn nodes_that_are_cut_apart_have_one_owner() {
    let world = World::new();
    world.cut(&PATHS);
    world.wait_for_owner(1, &[0, 1]);
    let cause = &world.nodes.pair(0)["groups"][0]["latest"]["cause"];
    assert_eq!(cause, "overtaken", "{}", world.diagnosis());
    world.wait_for_answers();
    world.mend(&PATHS);
    let owner = world.wait_for_one();
    world.wait_for_answers();
    // What somebody else moves is taken back.
    world
        .cloud
        .change(|things| {
            let vip = Family::V4.vip(DIRECT);
            for interface in things.interfaces.values_mut() {
                interface.secondary.remove(&vip);
            }
            let other = things.interfaces.get_mut(&eni(1 - owner, 0));
            other.expect("it is there").secondary.insert(vip);
        })
        .expect("change");
    assert_eq!(world.cloud.owner(), None);
    world.wait_for_one();
    world.wait_for_answers();
}

#[test]
fn what_is_shown_is_old() {
    let mut world = World::new();
    world.cloud.state().lag = Duration::from_secs(3);
    world.take_over();
    let cause = world.nodes.pair(1)["groups"][0]["latest"]["cause"].clone();
    assert_eq!(cause, "peer-lost");
    world.come_back();
    world.give_back();
}

/// Each node has a VIP of its own, and the Elastic IP address moves; a VIP of no subnet moves by a route.
#[test]
fn elastic_ips_and_routes_move() {
    let vips = [20, 21].map(|number| Family::V4.vip(number));
    let [one, other] = vips;
    let public = IpAddr::from([198, 51, 100, 200]);
    let overlay = IpAddr::from([198, 18, 0, 10]);
    let refresh = "refresh = \"1s\"";
    let more = format!(
        "{refresh}, elastic_ip = [{{ tag = \"use=web\", interface = \"outside\", \
         private = {{ lb1 = \"{one}\", lb2 = \"{other}\" }} }}], \
         route = [{{ table = \"rtb-1\", destination = \"{overlay}/32\", interface = \"outside\" }}]"
    );
    let server = |name: &str, address: &str| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = {address}\nport = {ECHO}\nprotocol = \"udp\"\n\
             mode = \"full-nat\"\nsnat = \"automap\"\npool = \"ipv4\"\n"
        )
    };
    let own = format!("{{ lb1 = \"{one}\", lb2 = \"{other}\" }}");
    let servers = server("elastic", &own) + &server("overlay", &format!("\"{overlay}\""));
    let edit = |config: String| config.replacen(refresh, &more, 1) + &servers;
    let mut world = World::with(edit, &[public, overlay], |cloud, nodes| {
        let has = |things: &mut Things| {
            for (node, vip) in vips.into_iter().enumerate() {
                let at = things.interfaces.get_mut(&eni(node, 0));
                at.expect("it is there").primary.push(vip);
            }
        };
        cloud.change(has).expect("change");
        cloud
            .elastic_ip(nodes, public, ("use", "web"), one)
            .expect("an Elastic IP address");
        cloud
            .route(nodes, &format!("{overlay}/32"), 0)
            .expect("a route");
    });
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    let state = world.cloud.state();
    let at = state.things.allocations["eipalloc-1"].at.clone();
    assert_eq!(at, Some((eni(1, 0), other)));
    let routes = &state.things.tables["rtb-1"].routes;
    assert_eq!(routes[&format!("{overlay}/32")], eni(1, 0));
}

/// Three virtual servers over two network interfaces: source addresses of the interface, of a pool, and the clients'
/// own, whose replies come by the backends' default route. A prefix moves too.
#[test]
fn virtual_servers_over_two_interfaces_move_with_sources_and_routes() {
    let vips = [30, 31, 32].map(|number| Family::V4.vip(number));
    let source = Family::V4.backend(31);
    let (prefix, inside) = ("203.0.113.48/28", Family::V4.vip(50));
    let server = |name: &str, address: IpAddr, mode: &str| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {ECHO}\nprotocol = \"udp\"\n\
             pool = \"ipv4\"\n{mode}\n"
        )
    };
    let servers = [
        server(
            "automap",
            vips[0],
            "mode = \"full-nat\"\nsnat = \"automap\"",
        ),
        server(
            "translated",
            vips[1],
            "mode = \"full-nat\"\nsnat = \"translated\"",
        ),
        server("plain", vips[2], "mode = \"dnat\""),
        server("prefix", inside, "mode = \"dnat\""),
        format!(
            "[[snat_pool]]\nname = \"translated\"\naddresses = [\"{source}\"]\ninterface = \"inside\"\n"
        ),
    ];
    let addresses = format!(
        "route = [{{ table = \"rtb-1\", destination = \"0.0.0.0/0\", interface = \"inside\" }}], address = [\
         {{ interface = \"outside\", private = [\"{}\", \"{}\", \"{}\"], prefix = \"{prefix}\" }}, \
         {{ interface = \"inside\", private = \"{source}\" }}, ",
        vips[0], vips[1], vips[2]
    );
    let edit = |config: String| config.replacen("address = [", &addresses, 1) + &servers.concat();
    let mut world = World::with(edit, &vips, |cloud, nodes| {
        let has = |things: &mut Things| {
            let at = things.interfaces.get_mut(&eni(0, 0)).expect("it is there");
            at.secondary.extend(vips);
            at.prefixes.insert(prefix.to_owned());
            let at = things.interfaces.get_mut(&eni(0, 1));
            at.expect("it is there").secondary.insert(source);
        };
        cloud.change(has).expect("change");
        cloud.route(nodes, "0.0.0.0/0", 1).expect("a route");
    });
    let prefixes = |world: &World| {
        let state = world.cloud.state();
        [0, 1].map(|node| state.things.interfaces[&eni(node, 0)].prefixes.len())
    };
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    assert_eq!(prefixes(&world), [0, 1]);
    assert_eq!(
        world.cloud.state().things.tables["rtb-1"].routes["0.0.0.0/0"],
        eni(1, 1)
    );
    world.come_back();
    world.give_back();
    assert_eq!(prefixes(&world), [1, 0]);
}

/// Nothing waits for the bucket, and everything is there in the end.
#[test]
fn the_journal_is_copied_into_a_bucket() {
    let refresh = "refresh = \"1s\"";
    let more = format!("{refresh}, {}", Cloud::journal_bucket());
    let mut world = World::of(|config| config.replacen(refresh, &more, 1));
    let latest = |world: &World| {
        let state = world.cloud.state();
        let found = state.objects.all.get("forwarder/default/latest.json");
        let parse = |(_, text): &(u64, String)| serde_json::from_str(text).expect("JSON");
        found.map_or(Value::Null, parse)
    };
    let complete = |world: &World, node: &str| {
        let path = world
            .nodes
            .site
            .directory()
            .join(node)
            .join("cloud.journal");
        let text = fs::read_to_string(path).unwrap_or_default();
        let state = world.cloud.state();
        let objects: Vec<&str> = state
            .objects
            .all
            .values()
            .map(|(_, text)| text.as_str())
            .collect();
        text.lines().all(|line| objects.contains(&line))
    };
    world.wait("the first move is there", || {
        latest(&world)["node"] == NODES[0] && complete(&world, NODES[0])
    });
    let epoch = latest(&world)["epoch"].as_u64();
    world.cloud.state().objects.down = true;
    let gap = world.take_over();
    println!("nobody answered for {gap:?}");
    let about = "the journal's copy in the bucket";
    let told = |world: &World| world.nodes.problems(1).join("\n").contains(about);
    world.wait("it is told", || told(&world));
    assert_eq!(
        latest(&world)["epoch"].as_u64(),
        epoch,
        "nothing could be written"
    );
    world.cloud.state().objects.down = false;
    world.wait("everything is there", || {
        let line = latest(&world);
        line["node"] == NODES[1]
            && line["epoch"].as_u64() > epoch
            && complete(&world, NODES[1])
            && !told(&world)
    });
    // The object of the other node was there, and was replaced as it was known.
    assert!(world.cloud.state().objects.refused > 0);
}
