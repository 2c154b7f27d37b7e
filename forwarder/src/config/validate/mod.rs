//! Contradictions between values, and the models.
//!
//! A file is checked once for each node that it describes, because values may differ by node.

mod action;
mod backend_check;
mod cloud;
mod cloud_limit;
mod egress;
mod etcd;
mod group;
mod health_check;
mod interface;
mod limits;
mod nodes;
mod pair;
mod pool;
mod probe;
mod snat;
mod snat_pool;
mod tunnel_check;
mod usage;
mod view;
mod virtual_server;

use super::code::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::model::Model;
use super::schema::Document;
use nodes::Nodes;
use view::View;

const UNUSED: [Code; 4] = [
    Code::UnusedGroup,
    Code::UnusedPool,
    Code::UnusedSnatPool,
    Code::UnusedHealthCheck,
];

/// The model of each node; `None` when there were errors, here or earlier, about more than what the cloud allows.
pub(super) fn models(document: &Document, out: &mut Diagnostics) -> Option<Vec<Model>> {
    let nodes = Nodes::read(document, out);
    let mut models = Vec::new();
    let mut found = Vec::new();
    let mut own_addresses = Vec::new();
    for node in nodes.choices() {
        let mut list = Diagnostics::default();
        let mut view = View::new(document, &nodes, node, &mut list);
        let model = view.model();
        own_addresses.push(view.staying_addresses());
        models.push(model);
        found.push((node, list));
    }
    if let [first, second] = own_addresses.as_slice() {
        for (address, span) in second {
            if let Some((_, other)) = first.iter().find(|(known, _)| known == address) {
                let message = format!("both nodes have the own address {address}");
                let help = "write { NODE = \"…\", NODE = \"…\" } with an address for each";
                let mut same = Diagnostic::new(Code::SameAddressOnBothNodes, *span, message);
                if other != span {
                    same = same.note(*other, "the other node's");
                }
                out.push(same.help(help));
            }
        }
    }
    nodes.merge(found, out);
    if out.has_errors() {
        // A misspelt name leaves unused what it should have named.
        out.retain(|code| !UNUSED.contains(&code));
    }
    if out.has_errors_but(Code::CloudLimit) {
        return None;
    }
    models.into_iter().collect()
}
