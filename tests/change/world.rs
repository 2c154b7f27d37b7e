//! A running forwarder and files for it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forwarder_lab::client::icmp;
use forwarder_lab::site::{BACKENDS, ECHO, ECHO_REWRITTEN, HTTP, HTTP_REWRITTEN};
use forwarder_lab::{Family, Forwarder, Site, wait_until};
use serde_json::Value;

/// Nothing here takes that long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(120);
/// VIPs by number: of `dnat`, of `l2-dsr`, and of virtual servers that come and go.
pub const DNAT: u8 = 10;
pub const DIRECT: u8 = 11;
pub const EXTRA: u8 = 12;

/// A file: two virtual servers for each of two modes, and what a test adds.
#[derive(Clone)]
pub struct File {
    /// Backends of each pool, by index, with further keys.
    pub backends: Vec<(u8, &'static str)>,
    /// Whether there is another virtual server, with a pool of its own.
    pub extra: bool,
    /// What stands at the end.
    pub more: String,
}

impl File {
    /// Two backends and nothing else.
    pub fn base() -> Self {
        Self {
            backends: vec![(0, ""), (1, "")],
            extra: false,
            more: String::new(),
        }
    }

    /// With the third backend.
    pub fn third(mut self) -> Self {
        self.backends.push((2, ""));
        self
    }

    /// With the further virtual server.
    pub fn extra(mut self) -> Self {
        self.extra = true;
        self
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "version = 1\nlimits = { flows = 100000 }\n\
             [[interface]]\nname = \"outside\"\ndevice = \"eth0\"\n\
             [[interface]]\nname = \"inside\"\ndevice = \"eth1\"\n\
             [[health_check]]\nname = \"alive\"\ntype = \"http\"\npath = \"/health\"\nport = 80\n\
             interval = \"200ms\"\ntimeout = \"5s\"\nrise = 1\nfall = 5\n",
        );
        text += &self.pool("web", Some(HTTP_REWRITTEN));
        text += &self.pool("echo", Some(ECHO_REWRITTEN));
        text += &self.pool("direct", None);
        text += &server("web", DNAT, HTTP, "tcp", "dnat", "web");
        text += &server("echo", DNAT, ECHO, "udp", "dnat", "echo");
        text += &server("direct-web", DIRECT, HTTP, "tcp", "l2-dsr", "direct");
        text += &server("direct-echo", DIRECT, ECHO, "udp", "l2-dsr", "direct");
        if self.extra {
            text += &self.pool("extra", Some(HTTP_REWRITTEN));
            text += &server("extra", EXTRA, HTTP, "tcp", "dnat", "extra");
        }
        text + &self.more
    }

    fn pool(&self, name: &str, port: Option<u16>) -> String {
        let port = port.map_or_else(String::new, |port| format!("port = {port}\n"));
        let mut text = format!("[[pool]]\nname = \"{name}\"\nhealth_check = \"alive\"\n");
        for (index, more) in &self.backends {
            let (name, address) = (BACKENDS[usize::from(*index)], Family::V4.backend(*index));
            text += &format!(
                "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n{port}{more}\n"
            );
        }
        text
    }
}

fn server(name: &str, vip: u8, port: u16, protocol: &str, mode: &str, pool: &str) -> String {
    let address = Family::V4.vip(vip);
    format!(
        "[[virtual_server]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\n\
         protocol = \"{protocol}\"\nmode = \"{mode}\"\npool = \"{pool}\"\n"
    )
}

/// A VIP's HTTP.
pub fn http(vip: u8) -> SocketAddr {
    SocketAddr::new(Family::V4.vip(vip), HTTP)
}

/// A VIP's UDP echo.
pub fn echo(vip: u8) -> SocketAddr {
    SocketAddr::new(Family::V4.vip(vip), ECHO)
}

/// A running site. Dropped in this order.
pub struct World {
    pub forwarder: Forwarder,
    pub site: Site,
}

impl World {
    /// Starts with a file and waits until every backend is up and resolved.
    pub fn start(file: &File) -> Result<Self> {
        Self::start_text(&file.text())
    }

    /// The same with a text.
    pub fn start_text(text: &str) -> Result<Self> {
        let site = Site::new(&[DIRECT].map(|vip| Family::V4.vip(vip)), &[])?;
        let binary = Path::new(env!("CARGO_BIN_EXE_forwarder"));
        let directory = site.directory();
        let forwarder = Forwarder::start(binary, &site.forwarder, directory, text)?;
        let world = Self { forwarder, site };
        world.wait("every backend is up and resolved", ready)?;
        Ok(world)
    }

    /// Has the kernel know every backend's MAC address.
    pub fn ping_backends(&self) -> Result<()> {
        for backend in 0..3 {
            let address = Family::V4.backend(backend);
            self.site.forwarder.run(|| icmp::ping(address, LIMIT))?;
        }
        Ok(())
    }

    /// Waits for a status.
    pub fn wait(&self, what: &str, state: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let reached = wait_until(what, LIMIT, || {
            last = self.forwarder.status().unwrap_or_default();
            state(&last)
        });
        reached.with_context(|| format!("{last:#}\n{}", self.forwarder.log()))?;
        Ok(last)
    }

    /// Writes a file beside the running one.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.site.directory().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Replaces the running file, at once and whole.
    pub fn replace(&self, text: &str) -> Result<()> {
        let path = self.write("new.toml", text)?;
        fs::rename(path, self.forwarder.config())?;
        Ok(())
    }

    /// Runs a command that has to succeed; what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.forwarder.run(words)?;
        ensure!(
            output.status.success(),
            "{words:?}: {}\n{}",
            said(&output),
            self.forwarder.log()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command that has to succeed and prints JSON.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        Ok(serde_json::from_str(&self.run(&words)?)?)
    }

    /// Runs a command that has to fail; what it said.
    pub fn refused(&self, words: &[&str]) -> Result<String> {
        let output = self.forwarder.run(words)?;
        ensure!(output.status.code() == Some(1), "{words:?}: {output:?}");
        Ok(said(&output))
    }

    /// Replaces the running file and reloads it.
    pub fn reload(&self, file: &File) -> Result<Value> {
        self.replace(&file.text())?;
        self.json(&["reload"])
    }

    /// SHA-256 of the running file as the system's own tool has it.
    pub fn hash_of_file(&self) -> Result<String> {
        self.hash_of(self.forwarder.config())
    }

    /// The same of any file.
    pub fn hash_of(&self, path: &Path) -> Result<String> {
        let output = std::process::Command::new("sha256sum").arg(path).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split(' ').next().unwrap_or_default().to_owned())
    }
}

/// What a command printed, errors first.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stderr) + &text(&output.stdout)
}

/// Every backend is up, or not checked, and its next hop known.
pub fn ready(status: &Value) -> bool {
    let up = |backend: &Value| {
        let up = backend["health"] == "up" || backend["health"] == "unchecked";
        up && backend["next_hop"].is_object()
    };
    status["pools"].is_array() && backends(status).into_iter().all(up)
}

/// Nothing is wrong.
pub fn no_problem(status: &Value) -> bool {
    status["problems"].as_array().is_some_and(Vec::is_empty)
}

/// Every backend of a status.
pub fn backends(status: &Value) -> Vec<&Value> {
    let pools = status["pools"].as_array().into_iter().flatten();
    let backends = pools.filter_map(|pool| pool["backends"].as_array());
    backends.flatten().collect()
}

/// The backend of a pool.
pub fn backend<'a>(status: &'a Value, pool: &str, name: &str) -> &'a Value {
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut found = pools.filter(|each| each["name"] == pool);
    let backends = found.next().and_then(|pool| pool["backends"].as_array());
    let mut found = backends
        .into_iter()
        .flatten()
        .filter(|each| each["name"] == name);
    found.next().unwrap_or(&Value::Null)
}
