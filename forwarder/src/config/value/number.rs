//! Integers and ports.

use std::num::NonZeroU16;

use super::super::model::ServicePort;
use super::{Code, Diagnostic, Diagnostics, Node, Shape, Value, short, wrong_type};

/// An integer within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) struct Number<const LOW: u32, const HIGH: u32>(pub(in crate::config) u32);

impl<const LOW: u32, const HIGH: u32> Value for Number<LOW, HIGH> {
    fn shape() -> Shape {
        Shape::Integer(LOW.into(), HIGH.into())
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        let number = integer(node, &Self::shape(), out)?;
        let value = u32::try_from(number)
            .ok()
            .filter(|value| (LOW..=HIGH).contains(value));
        if value.is_none() {
            let message = format!("{number} is out of range");
            out.push(
                Diagnostic::new(Code::OutOfRange, node.span().into(), message)
                    .expected(Self::shape().to_string()),
            );
        }
        value.map(Number)
    }
}

impl Value for NonZeroU16 {
    fn shape() -> Shape {
        Shape::Integer(1, u16::MAX.into())
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        port(node, &Self::shape(), out)
    }
}

impl Value for ServicePort {
    fn shape() -> Shape {
        Shape::Either(
            Box::new(NonZeroU16::shape()),
            Box::new(Shape::Words(vec!["any"])),
        )
    }

    fn read(node: &Node<'_>, out: &mut Diagnostics) -> Option<Self> {
        match node.get_ref().as_str() {
            Some("any") => Some(ServicePort::Any),
            Some(other) => {
                let message = format!("\"{}\" is not a port", short(other));
                let mut diagnostic = Diagnostic::new(Code::BadPort, node.span().into(), message)
                    .expected(Self::shape().to_string());
                if other.parse::<NonZeroU16>().is_ok() {
                    diagnostic = diagnostic.help("write the number without quotes");
                }
                out.push(diagnostic);
                None
            }
            None => port(node, &Self::shape(), out).map(ServicePort::One),
        }
    }
}

fn port(node: &Node<'_>, shape: &Shape, out: &mut Diagnostics) -> Option<NonZeroU16> {
    let number = integer(node, shape, out)?;
    let value = u16::try_from(number).ok().and_then(NonZeroU16::new);
    if value.is_none() {
        let code = if number == 0 {
            Code::PortZero
        } else {
            Code::BadPort
        };
        out.push(
            Diagnostic::new(code, node.span().into(), format!("{number} is not a port"))
                .expected(shape.to_string()),
        );
    }
    value
}

pub(super) fn integer(node: &Node<'_>, shape: &Shape, out: &mut Diagnostics) -> Option<i64> {
    let Some(digits) = node.get_ref().as_integer() else {
        out.push(wrong_type(node, shape));
        return None;
    };
    let value = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
    if value.is_none() {
        let message = format!("{} is out of range", short(digits.as_str()));
        out.push(
            Diagnostic::new(Code::OutOfRange, node.span().into(), message)
                .expected(shape.to_string()),
        );
    }
    value
}
