//! A site with the forwarder running, and its configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use forwarder_lab::client::{Answer, http, udp};
use forwarder_lab::site::{BACKENDS, ECHO, ECHO_REWRITTEN, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Forwarder, Process, Site, decapsulate, wait_until};

/// Nothing here takes that long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(120);
/// For an answer that may not come, or that is asked for again.
pub const ANSWER: Duration = Duration::from_secs(3);
/// The number of the VIP that most tests use.
pub const VIP: u8 = 10;
/// The number of the VIP that the forwarder's own host has.
pub const LOCAL_VIP: u8 = 30;

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forwarder"))
}

/// A running site. Dropped in this order.
pub struct World {
    pub forwarder: Forwarder,
    _decapsulators: Vec<Process>,
    pub site: Site,
}

/// A site with the VIPs that the tests use: 10 to 19 on the backends, 30 on the forwarder's host.
pub fn site() -> Site {
    let direct: Vec<IpAddr> = Family::ALL
        .into_iter()
        .flat_map(|family| (VIP..VIP + 3).map(move |n| family.vip(n)))
        .collect();
    Site::new(&direct, &Family::ALL.map(|family| family.vip(LOCAL_VIP))).expect("build the site")
}

impl World {
    /// Builds a site and runs the forwarder with this configuration, [`HEADER`] put in front.
    pub fn start(config: &str) -> Self {
        Self::run(site(), HEADER, config)
    }

    /// Runs the forwarder in a site that is ready.
    pub fn run(site: Site, header: &str, config: &str) -> Self {
        let tunnels = config.contains("ipip-dsr") || config.contains("gue-dsr");
        let decapsulators = site.backends.iter().filter(|_| tunnels).map(|backend| {
            decapsulate(binary(), backend, "eth0", site.directory()).expect("run on the backend")
        });
        let decapsulators = decapsulators.collect();
        let config = format!("{header}\n{config}");
        let forwarder = Forwarder::start(binary(), &site.forwarder, site.directory(), &config)
            .unwrap_or_else(|error| panic!("{error:#}\nwith this configuration:\n{config}"));
        Self {
            forwarder,
            _decapsulators: decapsulators,
            site,
        }
    }

    /// One HTTP request from the client, which is answered unless something is broken.
    pub fn http(&self, server: SocketAddr) -> anyhow::Result<Answer> {
        self.site.client.run(|| http::get(server, "/", LIMIT))
    }

    /// The same while there may be no answer yet.
    fn try_http(&self, server: SocketAddr) -> anyhow::Result<Answer> {
        self.site.client.run(|| http::get(server, "/", ANSWER))
    }

    /// One UDP request from the client that nobody may answer.
    pub fn udp(&self, server: SocketAddr) -> anyhow::Result<Answer> {
        self.site.client.run(|| udp::request(server, 100, ANSWER))
    }

    /// Waits until every backend answers at a virtual server of HTTP.
    pub fn wait_for_all_backends(&self, server: SocketAddr) {
        self.wait_for_answers_of(server, &BACKENDS);
    }

    /// Waits until these servers answer, of 40 requests in a row every one, and no others.
    pub fn wait_for_answers_of(&self, server: SocketAddr, names: &[&str]) {
        let mut last = String::new();
        wait_until("all answer and no other", LIMIT, || {
            let answers: Result<Vec<_>, _> = (0..40).map(|_| self.try_http(server)).collect();
            match answers {
                Ok(answers) => {
                    let mut seen: Vec<_> =
                        answers.into_iter().map(|answer| answer.backend).collect();
                    seen.sort();
                    seen.dedup();
                    last = format!("{seen:?} answer");
                    seen == names
                }
                Err(error) => {
                    last = format!("{error:#}");
                    false
                }
            }
        })
        .unwrap_or_else(|error| {
            panic!(
                "{error:#}: {names:?} at {server}; last: {last}\n{}",
                self.forwarder.diagnosis()
            )
        });
    }

    /// Waits until every backend is up and resolved, and new flows go to all of them.
    pub fn wait_until_up(&self) {
        wait_until("every backend is up and resolved", LIMIT, || {
            let status = self.forwarder.status().unwrap_or_default();
            let pools = status["pools"].as_array().into_iter().flatten();
            let mut backends = pools
                .filter_map(|pool| pool["backends"].as_array())
                .flatten();
            status["pools"].is_array()
                && backends.all(|each| each["health"] == "up" && each["next_hop"].is_object())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.forwarder.diagnosis()));
    }

    /// Waits until a virtual server of HTTP answers at all.
    pub fn wait_for_answer(&self, server: SocketAddr) {
        let mut last = None;
        wait_until("the virtual server answers", LIMIT, || {
            let answer = self.try_http(server);
            last = answer.as_ref().err().map(|error| format!("{error:#}"));
            answer.is_ok()
        })
        .unwrap_or_else(|error| {
            panic!(
                "{error:#}: {server}: {last:?}\n{}",
                self.forwarder.diagnosis()
            )
        });
    }
}

/// What every configuration here begins with. Health checks are patient: this machine may be busy.
pub const HEADER: &str = r#"
version = 1
limits = { flows = 200000 }
interface = [{ name = "outside", device = "eth0" }, { name = "inside", device = "eth1" }]
health_check = [{ name = "health", type = "http", port = 80, path = "/health", interval = "200ms", timeout = "5s", rise = 2, fall = 2 }]
"#;

/// A virtual server; `more` are further lines.
pub fn virtual_server(
    name: &str,
    mode: &str,
    address: IpAddr,
    port: u16,
    protocol: &str,
    more: &str,
) -> String {
    format!(
        "[[virtual_server]]\nname = \"{name}\"\nmode = \"{mode}\"\naddress = \"{address}\"\n\
         port = {port}\nprotocol = \"{protocol}\"\n{more}\n"
    )
}

/// A virtual server of a family and its pool: HTTP that the backends have at another port.
pub fn web(family: Family, mode: &str, more: &str) -> String {
    let name = format!("web-{family}");
    let more = format!("pool = \"{name}\"\n{more}");
    pool(&name, family, Some(HTTP_REWRITTEN))
        + &virtual_server(&name, mode, family.vip(VIP), HTTP, "tcp", &more)
}

/// A pool of the three backends, with health checks; `port` is what NAT rewrites to.
pub fn pool(name: &str, family: Family, port: Option<u16>) -> String {
    let port = port
        .map(|port| format!(", port = {port}"))
        .unwrap_or_default();
    let backends: Vec<_> = (0..)
        .zip(BACKENDS)
        .map(|(index, name)| {
            format!(
                "{{ name = \"{name}\", address = \"{}\"{port} }}",
                family.backend(index)
            )
        })
        .collect();
    format!(
        "[[pool]]\nname = \"{name}\"\nhealth_check = \"health\"\nbackend = [{}]\n",
        backends.join(", ")
    )
}

/// HTTP and the UDP echo at the VIPs of both families in one mode, to backends of the VIP's family or
/// the other.
pub fn both_services(mode: &str, backends: impl Fn(Family) -> Family) -> String {
    Family::ALL
        .map(|family| both_services_of(mode, family, backends(family)))
        .concat()
}

fn both_services_of(mode: &str, family: Family, backends: Family) -> String {
    let nat = mode == "dnat" || mode == "full-nat";
    let port = |rewritten| nat.then_some(rewritten);
    let more = |pool: &str| match mode {
        "local" => String::new(),
        "full-nat" => format!("pool = \"{pool}-{family}\"\nsnat = \"automap\""),
        _ => format!("pool = \"{pool}-{family}\""),
    };
    let vip = family.vip(if mode == "local" { LOCAL_VIP } else { VIP });
    let mut config = virtual_server(
        &format!("web-{family}"),
        mode,
        vip,
        HTTP,
        "tcp",
        &more("web"),
    ) + &virtual_server(
        &format!("echo-{family}"),
        mode,
        vip,
        ECHO,
        "udp",
        &more("echo"),
    );
    if mode != "local" {
        config += &pool(&format!("web-{family}"), backends, port(HTTP_REWRITTEN));
        config += &pool(&format!("echo-{family}"), backends, port(ECHO_REWRITTEN));
    }
    config
}
