//! The unit file, as systemd runs it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use forwarder_lab::client::http;
use forwarder_lab::site::HTTP;
use forwarder_lab::{Family, Process, Site, has_xdp, wait_until};
use serde_json::Value;

use super::machine::{LIMIT, Machine, text};

pub const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
/// A VIP that backends have themselves.
const DIRECT: u8 = 11;
const HASH_KEY: &str = "00112233445566778899aabbccddeeff";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn exposes_little() -> Result<()> {
    let unit = root().join("packaging/forwarder.service");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--threshold=25", "--no-pager"]);
    let output = command.arg(unit).output().context("systemd-analyze")?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

pub fn config(more: &str) -> String {
    let family = Family::V4;
    let backend = |index| format!("{{ address = \"{}\" }}", family.backend(index));
    let backends = [0, 1, 2].map(backend).join(", ");
    format!(
        "version = 1\nhash_key = \"{HASH_KEY}\"\n\
         interface = [{{ name = \"outside\", device = \"eth0\" }}, {{ name = \"inside\", device = \"eth1\" }}]\n\
         [[health_check]]\nname = \"alive\"\ntype = \"tcp\"\n\
         [[virtual_server]]\nname = \"web\"\naddress = \"{}\"\nport = {HTTP}\nprotocol = \"tcp\"\n\
         mode = \"full-nat\"\npool = \"web\"\nsnat = \"automap\"\n\
         [[pool]]\nname = \"web\"\nhealth_check = \"alive\"\nbackend = [{backends}]\n{more}",
        family.vip(10),
    )
}

/// A machine with the service running, installed from `packaging/`.
pub struct Service(pub Machine);

impl Service {
    pub fn install() -> Result<Self> {
        let machine = Machine::boot(Site::new(&[Family::V4.vip(DIRECT)], &[])?)?;
        let files = machine.files();
        fs::copy(FORWARDER, files.join("forwarder"))?;
        for entry in fs::read_dir(root().join("packaging"))? {
            let entry = entry?;
            fs::copy(entry.path(), files.join(entry.file_name()))?;
        }
        let service = Self(machine);
        service.write(&config(""))?;
        service.run("cp /files/forwarder.toml /etc/")?;
        service.follow("Install")?;
        Ok(service)
    }

    /// Runs the commands of a section of `docs/service.md`.
    fn follow(&self, section: &str) -> Result<String> {
        let page = fs::read_to_string(root().join("docs/service.md"))?;
        let commands = page
            .split(&format!("\n## {section}\n"))
            .nth(1)
            .and_then(|text| text.split("```sh\n").nth(1)?.split("```").next())
            .context(section.to_owned())?;
        self.run(
            &commands
                .replace("target/release/", "/files/")
                .replace("packaging/", "/files/"),
        )
    }

    pub fn run(&self, script: &str) -> Result<String> {
        let said = self.0.run(script);
        said.with_context(|| self.0.diagnosis())
    }

    /// Writes the file's next version.
    pub fn write(&self, config: &str) -> Result<()> {
        Ok(fs::write(self.0.files().join("forwarder.toml"), config)?)
    }

    pub fn pid(&self) -> Result<String> {
        self.0.property("MainPID")
    }

    fn forwards(&self) -> Result<()> {
        let server = SocketAddr::new(Family::V4.vip(10), HTTP);
        let get = || self.0.site.client.run(|| http::get(server, "/", LIMIT));
        get().with_context(|| self.0.diagnosis())?;
        Ok(())
    }

    /// Waits until nothing is attached: the kernel detaches a moment after the last holder has gone.
    fn detached(&self) -> Result<()> {
        self.0.wait("nothing is attached", || {
            Ok(!has_xdp(&self.0.site.forwarder, "eth0"))
        })
    }

    /// Waits until another daemon than `pid` has taken over.
    fn restarted(&self, pid: &str) -> Result<()> {
        self.0.wait("it is restarted", || {
            let now = self.pid()?;
            Ok(now != pid && now != "0" && self.0.property("ActiveState")? == "active")
        })
    }
}

#[test]
fn runs_under_systemd() -> Result<()> {
    let service = Service::install()?;
    service.forwards()?;
    has_few_rights(&service)?;
    nobody_else_gets_in(&service)?;
    reloads(&service)?;
    checks_through_tunnels(&service)?;
    logs_with_fields(&service)?;
    is_restarted(&service)?;
    stops_and_is_removed(&service)?;
    let everything = service.0.journal("-o export")?
        + &service.run("forwarder status -o json; forwarder history")?;
    ensure!(everything.contains("forwarding;"), "{everything}");
    ensure!(!everything.contains(HASH_KEY), "the key is a secret");
    is_removed(&service)
}

fn has_few_rights(service: &Service) -> Result<()> {
    let status = service.run(&format!("cat /proc/{}/status", service.pid()?))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches(':').trim().to_owned())
            .with_context(|| format!("no {name}: {status}"))
    };
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        let bits = u64::from_str_radix(&field(name)?, 16)?;
        ensure!(bits == CAPABILITIES, "{name}: {bits:x}");
    }
    ensure!(!field("Uid")?.split('\t').any(|uid| uid == "0"), "{status}");
    ensure!(
        field("NoNewPrivs")? == "1" && field("Seccomp")? == "2",
        "{status}"
    );
    // What the daemon tells systemd, on its own line.
    let told = service.0.property("StatusText")?;
    ensure!(told.contains("1 virtual servers on 2 interfaces"), "{told}");
    Ok(())
}

fn nobody_else_gets_in(service: &Service) -> Result<()> {
    let modes = service.run(
        "stat -c '%a %U %n' /sys/fs/bpf/forwarder /run/forwarder /run/forwarder/forwarder.sock",
    )?;
    let expected = "700 forwarder /sys/fs/bpf/forwarder\n750 forwarder /run/forwarder\n660 forwarder /run/forwarder/forwarder.sock\n";
    ensure!(modes == expected, "{modes}");
    let open = "find /sys/fs/bpf/forwarder ! -type d -perm /077";
    let open = service.run(open)?;
    ensure!(open.is_empty(), "others may open {open}");
    for attempt in [
        "ls /sys/fs/bpf/forwarder",
        "forwarder status",
        "cat /etc/forwarder.toml",
        "forwarder uninstall",
    ] {
        let output = service.0.sh(&format!(
            "exec setpriv --reuid 65534 --regid 65534 --clear-groups {attempt}"
        ))?;
        let said = text(&output);
        ensure!(
            !output.status.success() && said.contains("ermission denied"),
            "{attempt}: {said}"
        );
    }
    service
        .run("forwarder status --socket /run/forwarder/forwarder.sock")
        .map(drop)
}

fn reloads(service: &Service) -> Result<()> {
    let pid = service.pid()?;
    let install = "install -m 640 -g forwarder /files/forwarder.toml /etc/";
    service.write(&config(
        "[[pool]]\nname = \"more\"\nbackend = [{ address = \"192.0.2.99\" }]\n",
    ))?;
    service.run(&format!("{install}; systemctl reload forwarder"))?;
    let status = service.run("forwarder status -o json")?;
    ensure!(status.contains("\"more\""), "{status}");

    service.write(&config("nonsense = true\n"))?;
    let refused = service
        .0
        .sh(&format!("{install}; systemctl reload forwarder"))?;
    ensure!(!refused.status.success(), "a bad file is no success");
    let said = service.0.journal("-u forwarder")?;
    ensure!(said.contains("nonsense"), "{said}");
    ensure!(service.pid()? == pid, "the same daemon");
    service.write(&config(""))?;
    service.run(&format!("{install}; systemctl reload forwarder"))?;
    service.forwards()
}

/// Raw sockets, packet sockets and filters of its own: whatever the unit denies would be missed here.
fn checks_through_tunnels(service: &Service) -> Result<()> {
    let (vip, host) = (Family::V4.vip(DIRECT), &service.0.site.backends[0]);
    let mut command = host.command(FORWARDER);
    command.args(["backend", "eth0", "--vip", &vip.to_string()]);
    let log = service.0.site.directory().join("decapsulator.log");
    let _decapsulator = Process::start(command, &log)?;
    wait_until("the tunnel is taken off", LIMIT, || has_xdp(host, "eth0"))?;

    let mut tunnels = String::new();
    for (mode, port) in [("ipip-dsr", 2000), ("gue-dsr", 2001u16)] {
        for (number, kind) in (0..).zip(["tcp", "http", "icmp"]) {
            let (path, check_port) = match kind {
                "http" => ("path = \"/\"\n", format!("port = {HTTP}\n")),
                "tcp" => ("", format!("port = {HTTP}\n")),
                _ => ("", String::new()),
            };
            let (name, port) = (format!("{mode}-{kind}"), port + 10 * number);
            tunnels += &format!(
                "[[health_check]]\nname = \"{name}\"\ntype = \"{kind}\"\n{path}{check_port}via = \"tunnel\"\ninterval = \"200ms\"\n\
                 [[pool]]\nname = \"{name}\"\nhealth_check = \"{name}\"\nbackend = [{{ address = \"{}\" }}]\n\
                 [[virtual_server]]\nname = \"{name}\"\naddress = \"{vip}\"\nport = {port}\nprotocol = \"tcp\"\nmode = \"{mode}\"\npool = \"{name}\"\n",
                Family::V4.backend(0),
            );
        }
    }
    service.write(&config(&tunnels))?;
    service.run(
        "install -m 640 -g forwarder /files/forwarder.toml /etc/; systemctl reload forwarder",
    )?;
    service.0.wait("backends are up through tunnels", || {
        let status: Value = serde_json::from_str(&service.run("forwarder status -o json")?)?;
        let pools = status["pools"].as_array().context("pools")?;
        let up = |pool: &&Value| {
            let name = pool["name"].as_str().unwrap_or_default();
            name.contains("-dsr-") && pool["backends"][0]["health"] == "up"
        };
        Ok(pools.iter().filter(up).count() == 6)
    })
}

/// A daemon that hangs, and one that dies, are replaced; forwarding goes on meanwhile.
fn is_restarted(service: &Service) -> Result<()> {
    service.run(
        "mkdir -p /etc/systemd/system/forwarder.service.d\n\
         printf '[Service]\\nWatchdogSec=10s\\n' > /etc/systemd/system/forwarder.service.d/sooner.conf\n\
         systemctl daemon-reload\n\
         systemctl restart forwarder",
    )?;
    let pid = service.pid()?;
    service.run(&format!("kill -STOP {pid}"))?;
    service.forwards()?;
    service.restarted(&pid)?;
    let said = service.0.journal("")?;
    ensure!(said.contains("Watchdog timeout"), "{said}");
    service.forwards()?;
    let pid = service.pid()?;
    service.run(&format!("kill -KILL {pid}"))?;
    service.forwards()?;
    service.restarted(&pid)?;
    service.forwards()
}

fn stops_and_is_removed(service: &Service) -> Result<()> {
    service.run("systemctl stop forwarder")?;
    ensure!(service.0.property("Result")? == "success");
    service.forwards()?;
    let said = service.run("forwarder uninstall")?;
    ensure!(said.contains("detached from interface"), "{said}");
    let left =
        service.run("ls -A /sys/fs/bpf/forwarder; ls -d /run/forwarder 2>/dev/null || true")?;
    ensure!(left.is_empty(), "{left}");
    service.detached()?;
    service.run("systemctl start forwarder")?;
    service.forwards()
}

fn is_removed(service: &Service) -> Result<()> {
    service.follow("Remove")?;
    service.detached()?;
    let left = service.run(
        "find / -xdev -name '*forwarder*' 2> /dev/null || true\n\
         find /run /sys/fs/bpf /usr/local -name '*forwarder*' 2> /dev/null || true\n\
         getent passwd forwarder || true",
    )?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn logs_with_fields(service: &Service) -> Result<()> {
    let select = |fields: &str| service.0.journal(&format!("-u forwarder -o json {fields}"));
    let attached = select("FORWARDER_INTERFACE=eth0")?;
    ensure!(
        attached.contains("eth0: attached") && attached.contains("\"CODE_LINE\""),
        "{attached}"
    );
    let reloaded = select("FORWARDER_CONFIG=reloaded")?;
    ensure!(
        reloaded.contains("\"FORWARDER_HASH\"") && reloaded.contains("\"PRIORITY\":\"6\""),
        "{reloaded}"
    );
    // One message, whatever it has of lines.
    let refused = select("FORWARDER_CONFIG=refused PRIORITY=3")?;
    ensure!(
        refused.lines().count() == 1 && refused.contains("nonsense"),
        "{refused}"
    );
    service.0.wait("health is logged", || {
        let up = select("FORWARDER_POOL=web")?;
        Ok(up.contains("\"FORWARDER_BACKEND\":\"192.0.2.11\""))
    })
}
