//! Cloud Failover: which VIPs each node has of its own, and what moves.

use std::net::IpAddr;

use serde_json::Value;

use super::object::Object;
use super::{ImportError, LeftOut, step};

/// Pairs of VIPs: the first node's and the second's, of one public address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloatingVips {
    pairs: Vec<Floating>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Floating {
    public: String,
    vips: [IpAddr; 2],
}

impl FloatingVips {
    /// Both nodes' VIPs, where one of them is `vip`.
    pub fn of(&self, vip: IpAddr) -> Option<[IpAddr; 2]> {
        let mut vips = self.pairs.iter().map(|pair| pair.vips);
        vips.find(|vips| vips.contains(&vip))
    }
}

/// Reads a declaration.
pub fn read(document: &Value) -> Result<(FloatingVips, Vec<LeftOut>), ImportError> {
    let wrong = ImportError::Class("Cloud Failover declaration", "Cloud_Failover");
    let root = if document["class"] == "Cloud_Failover" {
        (document, String::new())
    } else if document["declaration"]["class"] == "Cloud_Failover" {
        // As the device answers when it is asked for its declaration.
        (&document["declaration"], "/declaration".to_owned())
    } else {
        return Err(wrong);
    };
    let mut object = Object::new(root.0, root.1).ok_or(wrong)?;
    let mut out = Vec::new();
    let mut floating = FloatingVips::default();
    object.take("environment");
    addresses(&mut object, &mut floating, &mut out);
    routes(&mut object, &mut out);
    object.finish(&mut out);
    Ok((floating, out))
}

const NO_MOVE: &str =
    "this version does not call the cloud: what moves there, something else has to move";

fn addresses(object: &mut Object<'_>, floating: &mut FloatingVips, out: &mut Vec<LeftOut>) {
    let pointer = object.at("failoverAddresses");
    let Some(mut section) = object
        .take("failoverAddresses")
        .and_then(|value| Object::new(value, pointer))
    else {
        return;
    };
    if section.take("enabled") == Some(&Value::Bool(false)) {
        section.leave("enabled", "it is switched off", out);
        return;
    }
    if section.take("scopingTags").is_some() {
        section.leave("scopingTags", NO_MOVE, out);
    }
    for (index, group) in section.list("addressGroupDefinitions").iter().enumerate() {
        let at = step(&section.at("addressGroupDefinitions"), &index.to_string());
        let public = group["scopingAddress"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let vips: Vec<Option<IpAddr>> = group["vipAddresses"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|vip| vip.as_str()?.split('/').next()?.parse().ok())
            .collect();
        match vips.as_slice() {
            [Some(first), Some(second)] if first.is_ipv4() == second.is_ipv4() => {
                floating.pairs.push(Floating {
                    public,
                    vips: [*first, *second],
                });
                out.push(LeftOut {
                    pointer: step(&at, "scopingAddress"),
                    why: NO_MOVE.into(),
                });
            }
            _ => out.push(LeftOut {
                pointer: at,
                why: format!("it does not name one VIP of each node; {NO_MOVE}"),
            }),
        }
    }
    section.finish(out);
}

fn routes(object: &mut Object<'_>, out: &mut Vec<LeftOut>) {
    let pointer = object.at("failoverRoutes");
    let Some(mut section) = object
        .take("failoverRoutes")
        .and_then(|value| Object::new(value, pointer))
    else {
        return;
    };
    if section.take("enabled") == Some(&Value::Bool(false)) {
        section.leave("enabled", "it is switched off", out);
        return;
    }
    for key in [
        "scopingTags",
        "scopingAddressRanges",
        "defaultNextHopAddresses",
    ] {
        if section.take(key).is_some() {
            section.leave(key, NO_MOVE, out);
        }
    }
    for (index, group) in section.list("routeGroupDefinitions").iter().enumerate() {
        let table = group["scopingName"].as_str().unwrap_or("its tables");
        out.push(LeftOut {
            pointer: step(&section.at("routeGroupDefinitions"), &index.to_string()),
            why: format!("routes of {table}: {NO_MOVE}"),
        });
    }
    section.finish(out);
}

/// The top of the file that is written, and its nodes, where there are two.
pub fn head(file: &str, floating: Option<&FloatingVips>) -> String {
    let mut text = format!(
        "# From {}. Edit the interface, and add others: a declaration does not say what they are called here.\nversion = 1\n",
        file.replace(|c: char| c.is_control(), "?")
    );
    if let Some(floating) = floating {
        text.push_str("# A secret of your own: openssl rand -hex 16\nhash_key = \"00000000000000000000000000000000\"\n");
        for pair in &floating.pairs {
            let [first, second] = pair.vips;
            text.push_str(&format!(
                "# {} is for {first} on lb1 and {second} on lb2.\n",
                pair.public
            ));
        }
        for node in ["lb1", "lb2"] {
            text.push_str(&format!("\n[[node]]\nname = \"{node}\"\n"));
        }
    }
    text + "\n[[interface]]\nname = \"outside\"\ndevice = \"eth0\"\n"
}

/// A file of the nodes alone.
pub fn config(file: &str, floating: &FloatingVips) -> String {
    head(file, Some(floating))
}
