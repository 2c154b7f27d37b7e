//! The commands of the documentation, followed to the letter on hosts of the lab.
//!
//! That every other command is one that the command line takes: `cli::tests`. `docs/install.md` is followed by
//! `--test examples`, `docs/service.md` by `--test service`, `docs/operate.md` by `--test change`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use forwarder_lab::{Lab, Namespace};

use super::host::{binary, findings, said};
use super::{backends, doctor};

/// Runs every line of a page's `sh` blocks on a host, in a directory of its own, with `file` as
/// `/etc/forwarder.toml`.
pub fn follow(
    host: &Namespace,
    page: &str,
    directory: &Path,
    file: &Path,
) -> Vec<(String, Output)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs").join(page)).expect("the page");
    let bin = directory.join("bin");
    if !bin.exists() {
        fs::create_dir_all(&bin).expect("a directory");
        symlink(binary(), bin.join("forwarder")).expect("a link");
    }
    let path = std::env::var("PATH").expect("a PATH");
    let blocks = page.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    let followed: Vec<_> = lines
        .map(|line| {
            let command = line.replace("/etc/forwarder.toml", &file.display().to_string());
            let mut shell = host.command("sh");
            shell.args(["-c", &command]).current_dir(directory);
            shell.env("PATH", format!("{}:{path}", bin.display()));
            (line.to_owned(), shell.output().expect("a shell"))
        })
        .collect();
    assert!(!followed.is_empty(), "no commands in the page");
    followed
}

fn all_end_well(followed: &[(String, Output)]) {
    for (line, output) in followed {
        assert!(output.status.success(), "{line}: {}", said(output));
    }
}

#[test]
fn a_node_behind_azures_load_balancer() {
    let lab = Lab::new().expect("a lab");
    let host = lab.host("azure").expect("a host");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let file = lab.directory().join("azure-lifekeeper.toml");
    fs::copy(examples.join("azure-lifekeeper.toml"), &file).expect("the example");
    all_end_well(&follow(&host, "azure.md", lab.directory(), &file));
    let shown = host.show(&["address", "show", "dev", "lo"]).expect("ip");
    assert!(shown.to_string().contains("10.10.5.200"), "{shown}");
}

#[test]
fn declarations_are_taken_over() {
    let lab = Lab::new().expect("a lab");
    let host = lab.host("import").expect("a host");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cloud/import");
    for (declaration, name) in [
        ("as3-two-zones.json", "declaration.json"),
        ("as3-two-zones.cfe.json", "failover.json"),
    ] {
        fs::copy(from.join(declaration), lab.directory().join(name)).expect("a declaration");
    }
    let file = lab.directory().join("forwarder.toml");
    let followed = follow(&host, "import.md", lab.directory(), &file);
    all_end_well(&followed);
    let text = fs::read_to_string(&file).expect("the file that was written");
    assert!(text.contains("[[cloud.elastic_ip]]"), "{text}");
}

#[test]
fn backends_are_set_up() {
    let site = backends::untouched();
    let text = backends::config("l2-dsr", "");
    let file = backends::write(&site, "forwarder.toml", &text);
    let backend = &site.backends[0];
    all_end_well(&follow(backend, "backends.md", site.directory(), &file));
    // The scripts that it printed do on another one what the page says.
    let script = site.directory().join("setup-backend.sh");
    let output = site.backends[1].command("sh").arg(script).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{}", said(&output));
    let file = file.to_str().expect("UTF-8");
    let (left, code) = findings(&site.backends[1], &[file, "--backend"]);
    assert_eq!((left, code), (Vec::new(), Some(0)));
    let windows = fs::read_to_string(site.directory().join("setup-backend.ps1"));
    let windows = windows.expect("the script for Windows");
    assert!(windows.contains("WeakHostReceive"), "{windows}");
}

#[test]
fn a_host_is_looked_over() {
    let site = doctor::site();
    let file = doctor::write(&site, doctor::GOOD);
    for (line, output) in follow(&site.forwarder, "doctor.md", site.directory(), &file) {
        // The machine's clock and kernel are as they are: what the page says of exit codes holds.
        let good = matches!(output.status.code(), Some(0 | 5 | 6));
        assert!(
            good && !output.stdout.is_empty(),
            "{line}: {}",
            said(&output)
        );
    }
}
