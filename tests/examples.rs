//! Every example is started as it is, on devices that have the names and addresses it gives, and
//! `docs/install.md` is followed to the letter.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forwarder::config::{self, Model};
use forwarder_lab::{Lab, Namespace, Process, has_xdp, wait_until};

const FORWARDER: &str = env!("CARGO_BIN_EXE_forwarder");
const LIMIT: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes the devices of a model, each with a far end that nobody listens at.
fn devices(host: &Namespace, model: &Model) -> Result<()> {
    for (number, interface) in model.interfaces.iter().enumerate() {
        let device = &interface.device;
        host.ip(&format!(
            "link add {device} type veth peer name far{number}\n\
             link set far{number} up\n\
             link set {device} up"
        ))?;
        for own in &interface.addresses {
            let (address, length) = (own.address, own.subnet.length());
            let more = match address {
                IpAddr::V4(_) => "",
                IpAddr::V6(_) => "nodad",
            };
            host.ip(&format!(
                "address add {address}/{length} dev {device} {more}"
            ))?;
        }
    }
    Ok(())
}

#[test]
fn every_example_starts() -> Result<()> {
    let lab = Lab::new()?;
    let mut started = 0;
    let key = lab.directory().join("pair.key");
    let mut keygen = Command::new(FORWARDER);
    keygen.args(["peer", "keygen"]).arg(&key);
    ensure!(keygen.status()?.success());
    for entry in fs::read_dir(root().join("examples"))? {
        let file = entry?.path();
        for model in config::load(&file)?.models {
            let host = lab.host(&format!("example{started}"))?;
            devices(&host, &model)?;
            // As it is, but for the one file that every pair makes for itself.
            let text = fs::read_to_string(&file)?;
            let text = text.replace("/etc/forwarder/pair.key", &key.display().to_string());
            let file = lab.directory().join(format!("{started}.toml"));
            fs::write(&file, text)?;
            let mut command = host.command(FORWARDER);
            let socket = lab.directory().join(format!("{started}.sock"));
            command.arg("run").arg(&file).arg("--socket").arg(socket);
            if let Some(node) = &model.node {
                command.args(["--node", &node.name]);
            }
            let log = lab.directory().join(format!("{started}.log"));
            let mut process = Process::start(command, &log)?;
            let ready = wait_until("the example forwards", LIMIT, || {
                process.ended().is_some() || process.output().contains("forwarding;")
            });
            let said = process.output();
            ready.with_context(|| format!("{}:\n{said}", file.display()))?;
            for interface in &model.interfaces {
                let attached = has_xdp(&host, &interface.device);
                ensure!(attached, "{}:\n{said}", file.display());
            }
            let end = process.interrupt()?;
            ensure!(end.success(), "{}: {end}", file.display());
            started += 1;
        }
    }
    ensure!(started >= 6, "only {started} were started");
    Ok(())
}

/// The shell commands of a page, in order.
fn commands(page: &str) -> Result<String> {
    let mut script = String::new();
    for block in page.split("```sh\n").skip(1) {
        let (text, _) = block.split_once("```").context("the end of the block")?;
        script += text;
    }
    Ok(script)
}

#[test]
fn the_installation_page_can_be_followed() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("install")?;
    let example = root().join("examples/several-virtual-servers-two-interfaces.toml");
    for model in config::load(&example)?.models {
        devices(&host, &model)?;
    }
    let page = fs::read_to_string(root().join("docs/install.md"))?;
    let files = lab.directory().join("host");
    for directory in ["usr/local/bin", "etc", "var/log"] {
        fs::create_dir_all(files.join(directory))?;
    }
    let files = files.to_str().context("a path")?;
    let mut script = commands(&page)?.replace("target/release/forwarder", FORWARDER);
    for path in ["/usr/local/bin", "/etc/forwarder", "/var/log/forwarder"] {
        script = script.replace(path, &format!("{files}{path}"));
    }
    // The build was done before this test. The host's own /run stays out of sight.
    script = format!(
        "set -eu\nmount -t tmpfs tmpfs /run\nPATH={files}/usr/local/bin:$PATH\ncargo() {{ :; }}\n\
         {script}\necho left: $(ls -A /run {files}/usr/local/bin {files}/etc {files}/var/log)\n"
    );
    let mut command = host.command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.matches("Virtual servers").count() == 2, "{said}");
    ensure!(said.contains("nothing would change"), "{said}");
    let left = format!("left: /run: {files}/etc: {files}/usr/local/bin: {files}/var/log:");
    ensure!(said.contains(&left), "{said}");
    ensure!(!has_xdp(&host, "eth0"), "{said}");
    Ok(())
}
