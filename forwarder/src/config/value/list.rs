//! Values made of values: lists, and values that differ by node.

use std::collections::BTreeMap;
use std::fmt::Debug;

use toml::de::DeArray;

use super::super::diagnostic::{Span, Spanned};
use super::{Code, Diagnostic, Diagnostics, Node, Shape, Value, wrong_type};

/// Reads a value and keeps its place.
pub(in crate::config) fn spanned<T: Value>(
    node: &Node<'_>,
    out: &mut Diagnostics,
) -> Option<Spanned<T>> {
    T::read(node, out).map(|value| Spanned {
        value,
        span: node.span().into(),
    })
}

fn entries<T>(array: &DeArray<'_>, span: Span, out: &mut Diagnostics) -> Option<Vec<Spanned<T>>>
where
    T: Value + Ord + Clone,
{
    if array.is_empty() {
        out.push(
            Diagnostic::new(Code::EmptyList, span, "this list is empty")
                .expected("at least one entry; leave the key out for its default"),
        );
        return None;
    }
    let mut seen = BTreeMap::new();
    let mut list = Vec::new();
    let mut complete = true;
    for node in array.iter() {
        let Some(entry) = spanned::<T>(node, out) else {
            complete = false;
            continue;
        };
        if let Some(first) = seen.insert(entry.value.clone(), entry.span) {
            out.push(
                Diagnostic::new(
                    Code::DuplicateEntry,
                    entry.span,
                    "this entry is a repetition",
                )
                .note(first, "first given here"),
            );
        } else {
            list.push(entry);
        }
    }
    complete.then_some(list)
}

/// An array with at least one entry and none twice.
#[derive(Clone, Debug)]
pub(in crate::config) struct List<T>(pub(in crate::config) Vec<Spanned<T>>);

impl<T: Value + Ord + Clone> Value for List<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        match node.get_ref().as_array() {
            Some(array) => entries(array, node.span().into(), out).map(List),
            None => {
                out.push(wrong_type(node, &Self::shape()));
                None
            }
        }
    }
}

/// One value, or an array as in [`List`].
#[derive(Clone, Debug)]
pub(in crate::config) struct OneOrMany<T>(pub(in crate::config) Vec<Spanned<T>>);

impl<T: Value + Ord + Clone> Value for OneOrMany<T> {
    fn shape() -> Shape {
        Shape::OneOrMany(Box::new(T::shape()))
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        match node.get_ref().as_array() {
            Some(array) => entries(array, node.span().into(), out).map(OneOrMany),
            None => spanned(node, out).map(|one| OneOrMany(vec![one])),
        }
    }
}

/// An array of tables, each with its own errors.
#[derive(Clone, Debug)]
pub(in crate::config) struct Many<T>(pub(in crate::config) Vec<Spanned<T>>);

impl<T: Value> Value for Many<T> {
    fn shape() -> Shape {
        match T::shape() {
            Shape::Table(section) => Shape::Tables(section),
            other => Shape::List(Box::new(other)),
        }
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let Some(array) = node.get_ref().as_array() else {
            let mut diagnostic = wrong_type(node, &Self::shape());
            if node.get_ref().is_table() {
                diagnostic = diagnostic.help("write the name in two pairs of brackets: [[…]]");
            }
            out.push(diagnostic);
            return None;
        };
        Some(Many(
            array
                .iter()
                .filter_map(|entry| spanned(entry, out))
                .collect(),
        ))
    }
}

/// One value for every node, or a value for each.
#[derive(Clone, Debug)]
pub(in crate::config) enum PerNode<T> {
    Same(Spanned<T>),
    ByNode {
        span: Span,
        values: Vec<(Spanned<String>, Option<Spanned<T>>)>,
    },
}

impl<T: PartialEq> PerNode<T> {
    /// Whether the nodes have different values.
    pub(in crate::config) fn differs(&self) -> bool {
        let PerNode::ByNode { values, .. } = self else {
            return false;
        };
        let mut values = values
            .iter()
            .map(|(_, value)| value.as_ref().map(|value| &value.value));
        let first = values.next();
        values.any(|value| Some(value) != first)
    }
}

impl<T: Value> Value for PerNode<T> {
    fn shape() -> Shape {
        Shape::PerNode(Box::new(T::shape()))
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let Some(table) = node.get_ref().as_table() else {
            return spanned(node, out).map(PerNode::Same);
        };
        let values = table
            .iter()
            .map(|(key, value)| {
                let name = Spanned {
                    value: key.get_ref().to_string(),
                    span: key.span().into(),
                };
                (name, spanned(value, out))
            })
            .collect();
        Some(PerNode::ByNode {
            span: node.span().into(),
            values,
        })
    }
}
