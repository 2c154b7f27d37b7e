//! Interfaces that come and go, and cables.

use forwarder_lab::Family;

use super::world::World;

#[test]
fn interfaces_that_go_and_come_back_are_used_again() {
    let world = World::start();
    let index = |world: &World| {
        let link = world
            .site
            .forwarder
            .show(&["link", "show", "eth1"])
            .expect("a link");
        link[0]["ifindex"].as_u64()
    };
    let before = index(&world);
    world.site.forwarder.ip("link del eth1").expect("delete");
    world.wait_for_log("is gone");
    let addresses = Family::ALL.map(|family| family.in_subnet(family.inside()));
    world
        .site
        .plug(&world.site.forwarder, "eth1", world.site.inside, &addresses)
        .expect("plug");
    assert_ne!(index(&world), before, "a new interface index");
    // It has another MAC address, which the neighbours would notice in half a minute.
    for host in world.site.backends.iter().chain([&world.site.router]) {
        host.ip("neighbour flush all").expect("flush");
    }
    world.wait_until_ready();

    world
        .site
        .forwarder
        .ip("link set eth1 down\nlink set eth1 name lan0")
        .expect("rename");
    world.wait_for_log("eth1 is now called lan0");
    world
        .site
        .forwarder
        .ip("link set lan0 name eth1\nlink set eth1 up")
        .expect("rename");
    for family in Family::ALL {
        let _ = world.site.forwarder.ip(&format!(
            "address replace {} dev eth1",
            family.in_subnet(family.inside())
        ));
    }
    world.wait_until_ready();
}

#[test]
fn a_carrier_that_comes_and_goes() {
    let world = World::start();
    let programs = || ["eth0", "eth1"].map(|device| world.program(device));
    let carrier = |device, carrier| {
        let set = world
            .site
            .set_carrier(&world.site.forwarder, device, carrier);
        set.expect("the switch's port");
    };
    let before = programs();
    for (name, device) in [("outside", "eth0"), ("inside", "eth1")] {
        for _ in 0..5 {
            carrier(device, false);
            carrier(device, true);
        }
        carrier(device, false);
        let problem = format!("{device} has no carrier");
        world.wait("it is seen", |status| {
            status["problems"].to_string().contains(&problem)
        });
        world.wait_for_log(&problem);
        carrier(device, true);
        world.wait_for_log(&format!("over: interface {name}: {problem}"));
        world.wait_until_ready();
    }
    assert_eq!(programs(), before, "nothing was attached anew");
    let history = world.forwarder().run(&["history", "--kind", "problem"]);
    let history = super::world::text(&history.expect("history"));
    for part in [
        "begins: interface inside: eth1 has no carrier",
        "over: interface outside: eth0 has no carrier",
    ] {
        assert!(history.contains(part), "no \"{part}\" in\n{history}");
    }
}
