//! What the command line finds out of a cloud: whether it has what the file wants, and how much it may have.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use forwarder_lab::Nodes;
use forwarder_lab::cloud::{Cloud, Interface, eni};
use serde_json::Value;

use super::host::{binary, forwarder, said};
use super::pages::follow;

/// Dropped in this order.
struct World {
    cloud: Cloud,
    nodes: Nodes,
}

impl World {
    fn new() -> Self {
        let nodes = Nodes::new(binary()).expect("the nodes");
        let cloud = Cloud::start(&nodes).expect("the cloud");
        Self { cloud, nodes }
    }

    /// The nodes' file, with more in `[cloud]`.
    fn file(&self, more: &str) -> PathBuf {
        let config = self.nodes.config(Duration::from_secs(1), 3);
        let cloud = self.cloud.config().replacen('{', &format!("{{ {more}"), 1);
        let file = self.nodes.site.directory().join("cloud.toml");
        let text = config.replacen("version = 1\n", &format!("version = 1\n{cloud}"), 1);
        std::fs::write(&file, text).expect("write");
        file
    }

    /// Changes a network interface of the first node.
    fn change(&self, device: usize, change: impl FnOnce(&mut Interface)) {
        let interfaces = &mut self.cloud.state().things.interfaces;
        change(interfaces.get_mut(&eni(0, device)).expect("it is there"));
    }

    fn run(&self, node: usize, words: &[&str]) -> Output {
        forwarder(self.nodes.host(node), words)
    }

    /// What `doctor` says of a code on a node: severity, subject, message and fix.
    fn found(&self, node: usize, code: &str) -> Vec<[String; 4]> {
        let file = self.file("");
        let name = forwarder_lab::nodes::NODES[node];
        let file = file.to_str().expect("UTF-8");
        let output = self.run(node, &["doctor", file, "--node", name, "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        let all = all.as_array().expect("a list").iter();
        let text = |each: &Value, key: &str| match &each[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        all.filter(|each| each["code"] == code)
            .map(|each| ["severity", "subject", "message", "fix"].map(|key| text(each, key)))
            .collect()
    }
}

#[test]
fn doctor_compares_the_file_with_the_cloud() {
    let world = World::new();
    let has = |found: &[[String; 4]], parts: [&str; 4]| {
        let good = |each: &[String; 4]| each.iter().zip(parts).all(|(is, part)| is.contains(part));
        assert!(found.iter().any(good), "no {parts:?} in {found:#?}");
    };

    // Addresses: the first node has them, and at the second they come when it is active.
    let vip = "203.0.113.10";
    has(
        &world.found(0, "cloud-address"),
        ["ok", "eth0", &format!("{} has {vip}", eni(0, 0)), "[]"],
    );
    has(
        &world.found(1, "cloud-address"),
        ["note", "eth0", &format!("does not have {vip} now"), "[]"],
    );

    // Direct server return and the check of sources exclude each other.
    let off = format!(
        "--network-interface-id {} --no-source-dest-check",
        eni(0, 1)
    );
    has(
        &world.found(0, "source-dest-check"),
        ["error", "eth1", "l2-dsr of", &off],
    );
    has(
        &world.found(0, "source-dest-check"),
        ["ok", "eth0", "on at", "[]"],
    );
    world.change(1, |each| each.checks = false);
    has(
        &world.found(0, "source-dest-check"),
        ["ok", "eth1", "off at", "[]"],
    );

    // Limits, from the cloud itself.
    has(
        &world.found(0, "cloud-limit"),
        ["ok", "cloud", "4 interfaces with 15 addresses", "[]"],
    );
    world.change(0, |each| each.limit = 2);
    has(
        &world.found(0, "cloud-limit"),
        ["error", "cloud", "\"outside\" would have 3 addresses", "[]"],
    );

    // What may not be asked is not guessed.
    world
        .cloud
        .state()
        .denied
        .insert("DescribeInstanceTypes".to_owned());
    has(
        &world.found(0, "cloud"),
        ["note", "cloud", "UnauthorizedOperation", "[]"],
    );
    has(
        &world.found(0, "cloud-limit"),
        ["note", "cloud", "is not known", "[]"],
    );
}

#[test]
fn limits_are_refreshed_from_the_cloud() {
    let world = World::new();
    let table = world.nodes.site.directory().join("limits.toml");
    let more = format!(
        "instance_type = \"x9.huge\", limits_file = \"{}\",",
        table.display()
    );
    let file = world.file(&more);
    let file = file.to_str().expect("UTF-8");
    let says = |words: &[&str], good: bool, parts: &[&str]| {
        let output = world.run(0, words);
        let text = said(&output);
        assert_eq!(output.status.success(), good, "{words:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{words:?}: no {part:?} in {text}");
        }
    };
    says(
        &["check", file],
        true,
        &["warning[cloud-unknown-type]", "warning[cloud-limits-file]"],
    );
    says(&["cloud", "limits", file], false, &["--refresh"]);
    let told = "x9.huge: 4 network interfaces; on each 15 addresses and prefixes of IPv4, 15 of IPv6 (limits_file)";
    let directory = world.nodes.site.directory();
    for (line, output) in follow(world.nodes.host(0), "cloud.md", directory, Path::new(file)) {
        assert!(output.status.success(), "{line}: {}", said(&output));
        assert!(said(&output).contains(told), "{line}: {}", said(&output));
    }
    says(&["cloud", "limits", file], true, &[told]);
    says(&["check", file], true, &["good"]);

    // What the cloud allows is what the file is held to.
    world.change(0, |each| each.limit = 2);
    says(
        &["cloud", "limits", file, "--refresh"],
        true,
        &["on each 2 addresses"],
    );
    says(
        &["check", file],
        false,
        &["error[cloud-limit]", "may have 2"],
    );

    // It allows more now, as another size does: the file that was refused is what it is asked with.
    says(&["cloud", "iam-policy", file], true, &["ec2:"]);
    world.change(0, |each| each.limit = 15);
    says(
        &["cloud", "limits", file, "--refresh"],
        true,
        &["on each 15 addresses"],
    );
    says(&["check", file], true, &["good"]);

    // A table that somebody broke is no reason not to start.
    std::fs::write(&table, "[\"x9.huge\"]\ninterfaces = 4\n").expect("write");
    says(
        &["check", file],
        true,
        &["warning[cloud-limits-file]", "ipv4"],
    );
    says(&["cloud", "limits", file], false, &["limits.toml"]);
}
