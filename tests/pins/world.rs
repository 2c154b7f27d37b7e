//! A site whose forwarder pins in a BPF filesystem of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use forwarder_lab::client::http;
use forwarder_lab::site::{BACKENDS, ECHO, HTTP};
use forwarder_lab::{BpfFs, Family, Forwarder, Site, wait_until};
use serde_json::Value;

pub const LIMIT: Duration = Duration::from_secs(30);
/// The number of the VIP in mode `l2-dsr`.
pub const DIRECT: u8 = 10;
/// The number of the VIP in mode `full-nat`.
pub const NAT: u8 = 11;

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forwarder"))
}

/// Dropped in this order.
pub struct World {
    pub forwarder: Option<Forwarder>,
    pub bpf: BpfFs,
    pub site: Site,
}

impl World {
    /// A site with the forwarder running, pinned.
    pub fn start() -> Self {
        let mut world = Self::new();
        world.run(|_| ());
        world.wait_until_ready();
        world
    }

    /// A site without a forwarder.
    pub fn new() -> Self {
        let vips: Vec<IpAddr> = Family::ALL.map(|family| family.vip(DIRECT)).into();
        let site = Site::new(&vips, &[]).expect("build the site");
        let mount = site.directory().join("bpf");
        fs::create_dir(&mount).expect("a directory");
        let bpf = BpfFs::mount(&mount).expect("mount");
        Self {
            forwarder: None,
            bpf,
            site,
        }
    }

    /// Starts the daemon; `prepare` may add arguments.
    pub fn run(&mut self, prepare: impl FnOnce(&mut Command)) {
        self.run_with(&config(""), prepare);
    }

    /// Starts the daemon with a config.
    pub fn run_with(&mut self, config: &str, prepare: impl FnOnce(&mut Command)) {
        let directory = self.site.directory();
        let pin = format!("--pin={}", self.pins().display());
        let prepare = |command: &mut Command| {
            command.arg(pin);
            self.bpf.enter(command);
            prepare(command);
        };
        let started =
            Forwarder::start_with(binary(), &self.site.forwarder, directory, config, prepare);
        self.forwarder = Some(started.unwrap_or_else(|error| panic!("{error:#}")));
    }

    /// Where the forwarder pins.
    pub fn pins(&self) -> PathBuf {
        self.bpf.path().join("forwarder")
    }

    /// The current generation's directory.
    pub fn generation(&self) -> PathBuf {
        let version = self.pins().join("v1");
        let mut generations = Vec::new();
        wait_until("older generations are removed", LIMIT, || {
            generations = self.bpf.run(|| names(&version));
            generations.retain(|name| name.starts_with('g'));
            generations.len() == 1
        })
        .unwrap_or_else(|error| panic!("{error}: {generations:?}"));
        version.join(&generations[0])
    }

    /// Kills the daemon as a crash would: SIGKILL.
    pub fn kill(&mut self) {
        self.forwarder = None;
    }

    /// A `forwarder` command that sees the pins.
    pub fn command(&self, words: &[&str]) -> Output {
        let mut command = self.site.forwarder.command(binary());
        command.args(words);
        self.bpf.enter(&mut command);
        command.output().expect("run")
    }

    pub fn uninstall(&self) -> Output {
        self.command(&["uninstall", &format!("--pin={}", self.pins().display())])
    }

    pub fn forwarder(&self) -> &Forwarder {
        self.forwarder.as_ref().expect("it runs")
    }

    pub fn status(&self) -> Value {
        self.forwarder().status().expect("status")
    }

    /// Packets of every virtual server so far, by name.
    pub fn packets(&self) -> Vec<u64> {
        let status = self.status();
        let servers = status["virtual_servers"].as_array().expect("a list");
        let packets = servers.iter().map(|server| &server["in"]["packets"]);
        packets
            .map(|packets| packets.as_u64().expect("a number"))
            .collect()
    }

    /// The program's id at an interface; `None`: nothing is attached.
    pub fn program(&self, device: &str) -> Option<u64> {
        let link = self.site.forwarder.show(&["link", "show", device]).ok()?;
        link[0]["xdp"]["prog"]["id"].as_u64()
    }

    /// Waits until every backend is up, resolved and answers.
    pub fn wait_until_ready(&self) {
        self.wait("every backend answers", |status| {
            let text = status.to_string();
            !text.contains("\"checking\"")
                && !text.contains("\"down\"")
                && !text.contains("\"next_hop\":null")
        });
        for server in servers(HTTP) {
            let mut names = Vec::new();
            wait_until("all answer", LIMIT, || {
                let get = || self.site.client.run(|| http::get(server, "/", LIMIT)).ok();
                names = (0..40).filter_map(|_| Some(get()?.backend)).collect();
                names.sort();
                names.dedup();
                names == BACKENDS
            })
            .unwrap_or_else(|error| panic!("{error} {names:?} {}", self.forwarder().diagnosis()));
        }
    }

    pub fn wait(&self, what: &str, state: impl Fn(&Value) -> bool) {
        let reached = wait_until(what, LIMIT, || state(&self.status()));
        reached.unwrap_or_else(|error| panic!("{error}\n{}", self.forwarder().diagnosis()));
    }

    /// Waits until the daemon has logged something.
    pub fn wait_for_log(&self, text: &str) {
        let reached = wait_until(text, LIMIT, || self.forwarder().log().contains(text));
        reached.unwrap_or_else(|error| panic!("{error}\n{}", self.forwarder().diagnosis()));
    }
}

/// Every address of a service.
pub fn servers(port: u16) -> Vec<SocketAddr> {
    let vips = Family::ALL
        .into_iter()
        .flat_map(|family| [DIRECT, NAT].map(|vip| family.vip(vip)));
    vips.map(|vip| SocketAddr::new(vip, port)).collect()
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// HTTP and echo, by both families, in modes `l2-dsr` and `full-nat`; `more` goes to the top.
pub fn config(more: &str) -> String {
    let mut config = format!(
        "version = 1\n{more}\n\
         interface = [{{ name = \"outside\", device = \"eth0\" }}, {{ name = \"inside\", device = \"eth1\" }}]\n\
         health_check = [{{ name = \"health\", type = \"http\", port = 80, path = \"/health\", interval = \"200ms\", timeout = \"1s\", fall = 3 }}]\n"
    );
    for family in Family::ALL {
        for (vip, mode) in [(DIRECT, "l2-dsr"), (NAT, "full-nat")] {
            for (port, protocol) in [(HTTP, "tcp"), (ECHO, "udp")] {
                let snat = if mode == "full-nat" {
                    "snat = \"automap\""
                } else {
                    ""
                };
                config += &format!(
                    "[[virtual_server]]\nname = \"{protocol}-{mode}-{family}\"\naddress = \"{}\"\n\
                     port = {port}\nprotocol = \"{protocol}\"\nmode = \"{mode}\"\npool = \"{family}\"\n{snat}\n",
                    family.vip(vip),
                );
            }
        }
        let backends: Vec<_> = (0..3)
            .map(|index| format!("{{ address = \"{}\" }}", family.backend(index)))
            .collect();
        config += &format!(
            "[[pool]]\nname = \"{family}\"\nhealth_check = \"health\"\nbackend = [{}]\n",
            backends.join(", ")
        );
    }
    config
}
