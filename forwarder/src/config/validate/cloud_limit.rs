//! How many network interfaces and addresses an instance may have.

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::Movable;
use super::super::prefix::Prefix;
use super::super::schema;
use super::view::View;
use std::net::IpAddr;

/// Network interfaces, and addresses of a family that each may have.
type Limit = (usize, usize);
/// A size, and its limits.
type Size = (&'static str, Limit);

const SMALL: [Size; 5] = [
    ("large", (3, 10)),
    ("xlarge", (4, 15)),
    ("2xlarge", (4, 15)),
    ("4xlarge", (8, 30)),
    ("8xlarge", (8, 30)),
];
const MEDIUM: [Size; 1] = [("medium", (2, 4))];
const LARGE: [Size; 4] = [
    ("12xlarge", (8, 30)),
    ("16xlarge", (15, 50)),
    ("24xlarge", (15, 50)),
    ("metal", (15, 50)),
];
const LARGEST: [Size; 2] = [("32xlarge", (15, 50)), ("48xlarge", (15, 50))];

/// Families and their sizes, as the cloud's own description of its types has them.
const TYPES: [(&[&str], &[&[Size]]); 12] = [
    (&["m5", "m5n", "r5"], &[&SMALL, &LARGE]),
    (
        &["m6i", "r6i", "c6i", "m7i", "r7i", "c7i"],
        &[&SMALL, &LARGE, &LARGEST],
    ),
    (
        &["m6g", "c6g", "c6gn", "m7g", "c7g", "c7gn"],
        &[&MEDIUM, &SMALL, &LARGE],
    ),
    (&["m8g", "c8g", "r8g"], &[&MEDIUM, &SMALL, &LARGE, &LARGEST]),
    (&["m6in", "c6in"], &[&SMALL, &LARGE]),
    (
        &["c5", "c5n"],
        &[
            &SMALL,
            &[("9xlarge", (8, 30)), ("12xlarge", (8, 30))],
            &[
                ("18xlarge", (15, 50)),
                ("24xlarge", (15, 50)),
                ("metal", (15, 50)),
            ],
        ],
    ),
    (
        &["m8i", "c8i"],
        &[
            &[
                ("large", (3, 20)),
                ("xlarge", (4, 30)),
                ("2xlarge", (4, 30)),
                ("4xlarge", (8, 50)),
                ("8xlarge", (10, 50)),
            ],
            &[
                ("12xlarge", (12, 50)),
                ("16xlarge", (16, 64)),
                ("24xlarge", (16, 64)),
                ("32xlarge", (24, 64)),
                ("48xlarge", (24, 64)),
            ],
        ],
    ),
    (&["i3en", "i4i"], &[&SMALL, &[("16xlarge", (15, 50))]]),
    (
        &["g4dn"],
        &[
            &[
                ("xlarge", (3, 10)),
                ("2xlarge", (3, 10)),
                ("4xlarge", (3, 10)),
            ],
            &[
                ("8xlarge", (4, 15)),
                ("12xlarge", (8, 30)),
                ("16xlarge", (4, 15)),
            ],
        ],
    ),
    (
        &["g5"],
        &[
            &[
                ("xlarge", (4, 15)),
                ("2xlarge", (4, 15)),
                ("4xlarge", (8, 30)),
            ],
            &[
                ("8xlarge", (8, 30)),
                ("12xlarge", (15, 50)),
                ("16xlarge", (8, 30)),
            ],
        ],
    ),
    (
        &["t3", "t4g"],
        &[
            &[
                ("nano", (2, 2)),
                ("micro", (2, 2)),
                ("small", (3, 4)),
                ("medium", (3, 6)),
            ],
            &[
                ("large", (3, 12)),
                ("xlarge", (4, 15)),
                ("2xlarge", (4, 15)),
            ],
        ],
    ),
    (
        &["t3a"],
        &[
            &[
                ("nano", (2, 2)),
                ("micro", (2, 2)),
                ("small", (2, 4)),
                ("medium", (3, 6)),
            ],
            &[
                ("large", (3, 12)),
                ("xlarge", (4, 15)),
                ("2xlarge", (4, 15)),
            ],
        ],
    ),
];

fn limit(family: &str, size: &str) -> Option<Limit> {
    let mut types = TYPES.iter();
    let (_, sizes) = types.find(|(families, _)| families.contains(&family))?;
    let mut sizes = sizes.iter().copied().flatten();
    sizes
        .find(|(known, _)| *known == size)
        .map(|(_, limit)| *limit)
}

impl<'d> View<'d, '_> {
    /// Whether the instance may have what moves to it.
    pub(super) fn check_cloud_limits(
        &mut self,
        section: &'d schema::Cloud,
        addresses: &[Movable<IpAddr>],
        prefixes: &[Movable<Prefix>],
    ) {
        let of_type = self.pick(&section.instance_type);
        let known = of_type.and_then(|of| limit(&of.value.0, &of.value.1));
        let given = self.pick(&section.address_limit);
        let (most, span): (usize, Span) = match (given, known, of_type) {
            (Some(given), _, _) => (given.value.0 as usize, given.span),
            (None, Some((_, most)), Some(of)) => (most, of.span),
            (None, None, Some(of)) => {
                let message = format!("{}.{} is not known", of.value.0, of.value.1);
                return self.push(Code::CloudUnknownType, of.span, message);
            }
            (None, _, None) => return,
        };
        if let (Some((most, _)), Some(of)) = (known, of_type)
            && self.interfaces.len() > most
        {
            let message = format!(
                "there are {} interfaces, and {}.{} may have {most}",
                self.interfaces.len(),
                of.value.0,
                of.value.1
            );
            self.push(Code::CloudLimit, of.span, message);
        }
        let mut wrong = Vec::new();
        for interface in &self.interfaces {
            let name = &interface.model.name;
            for v4 in [true, false] {
                let own = interface.addresses.iter();
                let own = own.filter(|own| own.address.is_ipv4() == v4).count();
                // The primary address is there, whether the file says so or not.
                let own = own.max(usize::from(v4));
                let moved = addresses.iter().filter(|each| each.interface == *name);
                let moved = moved.filter(|each| each.what.is_ipv4() == v4).count();
                let prefixes = prefixes.iter().filter(|each| v4 && each.interface == *name);
                let all = own + moved + prefixes.count();
                if all > most {
                    let family = if v4 { "IPv4" } else { "IPv6" };
                    wrong.push(format!(
                        "\"{name}\" would have {all} addresses and prefixes of {family}, and may have {most}"
                    ));
                }
            }
        }
        for message in wrong {
            self.out
                .push(Diagnostic::new(Code::CloudLimit, span, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (family, size, expected) in [
            ("m6i", "xlarge", Some((4, 15))),
            ("m6i", "4xlarge", Some((8, 30))),
            ("g4dn", "2xlarge", Some((3, 10))),
            ("t3", "medium", Some((3, 6))),
            ("c7g", "medium", Some((2, 4))),
            ("m6i", "nano", None),
            ("x9", "large", None),
        ] {
            assert_eq!(limit(family, size), expected, "{family}.{size}");
        }
    }
}
