//! Who may come in, and how fast.

use std::net::SocketAddr;
use std::time::Duration;

use forwarder_lab::client::{http, udp};
use forwarder_lab::site::{ECHO, ECHO_REWRITTEN, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, wait_until};

use super::virtual_servers::use_source;
use super::world::{LIMIT, VIP, World, pool, virtual_server};

const SHORT: Duration = Duration::from_millis(300);
/// Long enough for one of many answers that are all on their way.
const BRIEF: Duration = Duration::from_millis(20);

#[test]
fn listed_sources() {
    let mut config = String::new();
    for (family, list) in [
        (Family::V4, ["198.51.100.0/24", "198.51.100.64/26"]),
        (Family::V6, ["2001:db8:100::/64", "2001:db8:100::60/124"]),
    ] {
        config += &pool(&format!("web-{family}"), family, Some(HTTP_REWRITTEN));
        let pool = format!("pool = \"web-{family}\"\nsnat = \"automap\"");
        let [allow, deny] = list;
        for (number, more) in [
            (
                VIP,
                format!("{pool}\nallow = [\"{allow}\"]\ndeny = [\"{deny}\"]"),
            ),
            (VIP + 1, format!("{pool}\ndeny = [\"{deny}\"]")),
            (VIP + 2, format!("{pool}\nallow = [\"{deny}\"]")),
        ] {
            let name = format!("v{number}-{family}");
            config += &virtual_server(&name, "full-nat", family.vip(number), HTTP, "tcp", &more);
        }
    }
    let world = World::start(&config);
    for family in Family::ALL {
        let web = |number| SocketAddr::new(family.vip(number), HTTP);
        // Who is let in may have to wait for a backend; who is not gets no answer, however long.
        let admitted = |expected: [bool; 3], who: &str| {
            for (number, expected) in (VIP..).zip(expected) {
                if expected {
                    world.wait_for_answer(web(number));
                }
            }
            let refused = (VIP..).zip(expected).filter(|(_, expected)| !expected);
            for (number, _) in refused {
                let answer = world.site.client.run(|| http::get(web(number), "/", SHORT));
                assert!(answer.is_err(), "{family}: {who} at {}", web(number));
            }
        };
        admitted([true, true, false], "the client's first address");
        let denied = if family == Family::V4 {
            "198.51.100.65"
        } else {
            "2001:db8:100::65"
        };
        use_source(&world, family, denied);
        admitted([false, false, true], denied);
    }
}

#[test]
fn new_flows_per_second() {
    let family = Family::V4;
    let config = pool("echo", family, Some(ECHO_REWRITTEN))
        + &pool("web", family, Some(HTTP_REWRITTEN))
        + &virtual_server(
            "echo",
            "full-nat",
            family.vip(VIP),
            ECHO,
            "udp",
            "pool = \"echo\"\nsnat = \"automap\"\nnew_flows_per_second = 10",
        )
        + &virtual_server(
            "web",
            "dnat",
            family.vip(VIP),
            HTTP,
            "tcp",
            "pool = \"web\"",
        );
    let world = World::start(&config);
    world.wait_for_all_backends(SocketAddr::new(family.vip(VIP), HTTP));
    world.site.client.run(|| {
        let echo = SocketAddr::new(family.vip(VIP), ECHO);
        // Once the backends are up, and not too busy to answer in time, some of them are answered.
        wait_until("some new flows are let in", LIMIT, || {
            let mut sockets: Vec<_> = (0..200)
                .map(|_| udp::Socket::open(echo, BRIEF).expect("socket"))
                .collect();
            // All at once: the answers are awaited later.
            for socket in &sockets {
                socket.send(100).expect("send");
            }
            let answers = sockets.iter_mut().filter_map(|each| each.receive(100).ok());
            let answered = answers.count();
            assert!(answered < 150, "{answered} of 200 at once were let in");
            answered > 0
        })
        .expect("some");
    });
    // Another virtual server of the VIP is not held back.
    for _ in 0..50 {
        world
            .http(SocketAddr::new(family.vip(VIP), HTTP))
            .expect("answer");
    }
}
