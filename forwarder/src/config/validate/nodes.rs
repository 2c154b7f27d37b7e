//! The nodes of the file, and what holds on one of them only.

use std::collections::BTreeMap;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Diagnostics, Span};
use super::super::model;
use super::super::schema::Document;

/// The nodes' names and where they are given; none for a single host.
pub(super) struct Nodes<'d>(pub(super) Vec<(&'d str, Span)>);

impl<'d> Nodes<'d> {
    pub(super) fn read(document: &'d Document, out: &mut Diagnostics) -> Self {
        let sections = document.node.as_ref().map_or([].as_slice(), |list| &list.0);
        let mut names: Vec<(&str, Span)> = Vec::new();
        for node in sections {
            let Some(name) = &node.name else { continue };
            if let Some((_, first)) = names.iter().find(|(known, _)| *known == name.0) {
                out.push(
                    Diagnostic::new(
                        Code::DuplicateName,
                        name.span,
                        format!("the node \"{}\" is defined twice", name.0),
                    )
                    .note(*first, "first defined here"),
                );
            } else if names.len() == 2 {
                out.push(
                    Diagnostic::new(Code::TooManyNodes, name.span, "there is a third node")
                        .expected("one node, or two that form a pair"),
                );
                break;
            } else {
                names.push((&name.0, name.span));
            }
        }
        // A key that is given but bad has its own error.
        let given = document.hash_key.is_some() || out.has_code(Code::BadHashKey);
        if let [_, (_, second)] = names.as_slice()
            && !given
        {
            out.push(
                Diagnostic::new(Code::MissingHashKey, *second, "two nodes but no hash_key")
                    .expected("hash_key = \"32 hexadecimal digits\" at the top of the file")
                    .help("`openssl rand -hex 16` makes one; both nodes must have the same"),
            );
        }
        Nodes(names)
    }

    /// What to check the file for: each node, or once for a file without nodes.
    pub(super) fn choices(&self) -> Vec<Option<usize>> {
        if self.0.is_empty() {
            vec![None]
        } else {
            (0..self.0.len()).map(Some).collect()
        }
    }

    pub(super) fn name(&self, index: usize) -> &'d str {
        self.0.get(index).map_or("", |(name, _)| name)
    }

    /// The node as the model has it.
    pub(super) fn model(&self, index: usize) -> model::Node {
        model::Node {
            name: self.name(index).to_owned(),
            index,
            peer: self
                .0
                .get(1 - index.min(1))
                .map(|(name, _)| (*name).to_owned()),
        }
    }

    /// Takes over what was found for each node; what holds for one of two says so.
    pub(super) fn merge(&self, found: Vec<(Option<usize>, Diagnostics)>, out: &mut Diagnostics) {
        let nodes = found.len();
        let mut count: BTreeMap<Diagnostic, usize> = BTreeMap::new();
        let lists: Vec<(Option<usize>, Vec<Diagnostic>)> = found
            .into_iter()
            .map(|(node, list)| {
                let (list, dropped) = list.into_parts();
                out.drop(dropped);
                (node, list)
            })
            .collect();
        for (_, list) in &lists {
            for diagnostic in list {
                *count.entry(diagnostic.clone()).or_default() += 1;
            }
        }
        for (node, list) in lists {
            for mut diagnostic in list {
                if count.get(&diagnostic) != Some(&nodes)
                    && let Some(node) = node
                {
                    diagnostic.message += &format!(" (on node \"{}\")", self.name(node));
                }
                out.push(diagnostic);
            }
        }
    }
}
