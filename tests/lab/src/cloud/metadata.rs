//! The metadata service, version 2: nothing without a token.

use super::REGION;
use super::attachment::instance;
use super::http::{Answer, Request};
use super::instance_type::TYPE;
use super::state::{Interface, State};

const TOKEN: &str = "a-token-of-this-host";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "forwarder";
/// Far away.
const EXPIRATION: &str = "2049-12-31T23:59:59Z";

pub fn answer(state: &mut State, node: usize, request: &Request) -> Answer {
    let says = |status, body: String| Answer {
        status,
        body,
        etag: None,
    };
    if request.path == "/latest/api/token" {
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        return match (request.method.as_str(), ttl.parse::<u32>()) {
            ("PUT", Ok(1..=21_600)) => says(200, TOKEN.to_owned()),
            _ => says(400, String::new()),
        };
    }
    if request.header("x-aws-ec2-metadata-token") != TOKEN || request.method != "GET" {
        return says(401, String::new());
    }
    let macs = "/latest/meta-data/network/interfaces/macs/";
    match request.path.as_str() {
        "/latest/meta-data/placement/region" => says(200, REGION.to_owned()),
        "/latest/meta-data/instance-id" => says(200, instance(node)),
        "/latest/meta-data/instance-type" => says(200, TYPE.to_owned()),
        ROLES => says(200, ROLE.to_owned()),
        path if path == format!("{ROLES}{ROLE}") => says(200, credentials(state, node)),
        path => {
            let rest = path.strip_prefix(macs).unwrap_or_default();
            let (mac, what) = rest.split_once('/').unwrap_or_default();
            let mut own = state.shown().interfaces.iter();
            let found = own
                .find(|(_, each)| each.node == node && each.attachment.is_on() && each.mac == mac);
            match (found, what) {
                (Some((id, _)), "interface-id") => says(200, id.clone()),
                (Some(_), "vpc-id") => says(200, "vpc-1".to_owned()),
                (Some((_, each)), "subnet-id") => says(200, each.subnet.clone()),
                (Some((_, each)), "local-ipv4s") => says(200, addresses(each, true)),
                (Some((_, each)), "ipv6s") => says(200, addresses(each, false)),
                (Some((_, each)), "ipv4-prefix") if !each.prefixes.is_empty() => {
                    let prefixes: Vec<_> = each.prefixes.iter().cloned().collect();
                    says(200, prefixes.join("\n"))
                }
                _ => says(404, String::new()),
            }
        }
    }
}

/// A line each, primary ones first.
fn addresses(interface: &Interface, v4: bool) -> String {
    let all = interface.primary.iter().chain(&interface.secondary);
    let all = all.filter(|address| address.is_ipv4() == v4);
    all.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn credentials(state: &mut State, node: usize) -> String {
    let (name, key) = state.key(node);
    serde_json::json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": name,
        "SecretAccessKey": key.secret,
        "Token": key.token,
        "Expiration": EXPIRATION,
    })
    .to_string()
}
