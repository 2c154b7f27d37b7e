//! The rights that moving things takes, and no others: a policy of AWS' IAM.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::model::{Cloud, Which};

/// The policy for what a file moves.
pub fn policy(cloud: &Cloud) -> Value {
    let region = cloud.region.as_deref().unwrap_or("*");
    let arn = |rest: &str| format!("arn:{}:ec2:{region}:*:{rest}", partition(region));
    let interfaces = arn("network-interface/*");
    let mut look = vec!["ec2:DescribeNetworkInterfaces", "ec2:DescribeInstanceTypes"];
    let mut statements = Vec::new();
    let (v4, v6): (Vec<_>, Vec<_>) = cloud.addresses.iter().partition(|each| each.what.is_ipv4());
    let mut assign = Vec::new();
    if !v4.is_empty() || !cloud.prefixes.is_empty() {
        assign.push("ec2:AssignPrivateIpAddresses");
    }
    if !v6.is_empty() {
        assign.extend(["ec2:AssignIpv6Addresses", "ec2:UnassignIpv6Addresses"]);
    }
    if !assign.is_empty() {
        statements.push(statement(
            "MoveAddresses",
            &assign,
            vec![interfaces.clone()],
        ));
    }
    let elastic = cloud.elastic_ips.iter().map(|each| &each.which);
    if !cloud.elastic_ips.is_empty() {
        look.push("ec2:DescribeAddresses");
        let action = ["ec2:AssociateAddress"];
        let to = statement("MoveElasticIpsTo", &action, vec![interfaces]);
        statements.push(to);
        let of = selected("MoveElasticIps", &action, elastic, |id| {
            arn(&format!("elastic-ip/{id}"))
        });
        statements.extend(of);
    }
    if !cloud.routes.is_empty() {
        look.push("ec2:DescribeRouteTables");
        let tables = cloud.routes.iter().map(|route| &route.table);
        let of = selected("MoveRoutes", &["ec2:ReplaceRoute"], tables, |id| {
            arn(&format!("route-table/{id}"))
        });
        statements.extend(of);
    }
    if !cloud.interfaces.is_empty() {
        let actions = ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"];
        let instances = vec![arn("instance/*")];
        statements.push(statement("MoveInterfacesTo", &actions, instances));
        let which = cloud.interfaces.iter().map(|each| &each.which);
        let of = selected("MoveInterfaces", &actions, which, |id| {
            arn(&format!("network-interface/{id}"))
        });
        statements.extend(of);
    }
    if let Some(bucket) = &cloud.journal_bucket {
        let (partition, name, prefix) = (partition(region), &bucket.name, &bucket.prefix);
        let objects = format!("arn:{partition}:s3:::{name}/{prefix}*");
        let actions = ["s3:GetObject", "s3:PutObject"];
        statements.push(statement("KeepJournal", &actions, vec![objects]));
    }
    // Looking can't be limited to single things.
    statements.insert(0, statement("Look", &look, vec!["*".to_owned()]));
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn statement(name: &str, actions: &[&str], resources: Vec<String>) -> Value {
    json!({ "Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources })
}

/// One statement for all ids, and one for each tag.
fn selected<'a>(
    name: &str,
    actions: &[&str],
    whiches: impl Iterator<Item = &'a Which>,
    arn: impl Fn(&str) -> String,
) -> Vec<Value> {
    let (mut ids, mut statements) = (Vec::new(), Vec::new());
    for which in whiches.collect::<BTreeSet<_>>() {
        match which {
            Which::Id(id) => ids.push(arn(id)),
            // Its allocation, which a policy takes, is not known here.
            Which::Public(_) => ids.push(arn("*")),
            Which::Tag(key, value) => {
                let number = statements.len() + 1;
                let name = format!("{name}ByTag{number}");
                let mut statement = statement(&name, actions, vec![arn("*")]);
                let tag = format!("aws:ResourceTag/{key}");
                statement["Condition"] = json!({ "StringEquals": { tag: value } });
                statements.push(statement);
            }
        }
    }
    ids.dedup();
    if !ids.is_empty() {
        statements.insert(0, statement(name, actions, ids));
    }
    statements
}

/// The partition of a region.
fn partition(region: &str) -> &'static str {
    [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
        ("*", "*"),
    ]
    .into_iter()
    .find(|(start, _)| region.starts_with(start))
    .map_or("aws", |(_, partition)| partition)
}
