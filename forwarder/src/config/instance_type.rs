//! How many network interfaces and addresses an instance of a type may have.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::source;

/// What an instance may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceLimits {
    /// Network interfaces.
    pub interfaces: usize,
    /// IPv4 addresses and prefixes of each, with its primary address.
    pub ipv4: usize,
    /// The same of IPv6.
    pub ipv6: usize,
}

/// Limits by types' names.
pub type LimitsTable = BTreeMap<String, InstanceLimits>;

/// Reads a table as [`table_text`] writes it.
///
/// # Errors
/// What is wrong with the file.
pub fn read_table(path: &Path) -> Result<LimitsTable, String> {
    let text = source::read(path).map_err(|diagnostic| diagnostic.message)?;
    toml::from_str(&text).map_err(|error| error.message().to_owned())
}

/// A table as a file of TOML.
pub fn table_text(table: &LimitsTable) -> String {
    let mut text = String::from("# What `forwarder cloud limits --refresh` was told.\n");
    for (name, limits) in table {
        text += &format!(
            "\n[\"{name}\"]\ninterfaces = {}\nipv4 = {}\nipv6 = {}\n",
            limits.interfaces, limits.ipv4, limits.ipv6
        );
    }
    text
}

/// What the instance would have more of than it may, a sentence each; counts every address that has to be at an
/// interface.
pub fn exceeded(model: &Model, of: &str, limits: &InstanceLimits) -> Vec<String> {
    let mut wrong = Vec::new();
    let interfaces = model.interfaces.len();
    if interfaces > limits.interfaces {
        let most = limits.interfaces;
        wrong.push(format!(
            "there are {interfaces} interfaces, and {of} may have {most}"
        ));
    }
    let placed = model.placed();
    for interface in &model.interfaces {
        let name = &interface.name;
        for (v4, most) in [(true, limits.ipv4), (false, limits.ipv6)] {
            let own = interface.addresses.iter();
            let own = own.filter(|own| own.address.is_ipv4() == v4).count();
            // The primary address is there, whether the file says so or not.
            let own = own.max(usize::from(v4));
            let more = placed.iter().filter(|each| each.interface == name);
            let more = more.filter(|each| each.address.is_ipv4() == v4).count();
            let prefixes = model.cloud.iter().flat_map(|cloud| &cloud.prefixes);
            let prefixes = prefixes.filter(|each| v4 && each.interface == *name);
            let all = own + more + prefixes.count();
            if all > most {
                let family = if v4 { "IPv4" } else { "IPv6" };
                wrong.push(format!(
                    "\"{name}\" would have {all} addresses and prefixes of {family}, and may have {most}"
                ));
            }
        }
    }
    wrong
}

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

/// The built-in figures of a type.
pub fn built_in(name: &str) -> Option<InstanceLimits> {
    let (family, size) = name.split_once('.')?;
    let mut types = TYPES.iter();
    let (_, sizes) = types.find(|(families, _)| families.contains(&family))?;
    let mut sizes = sizes.iter().copied().flatten();
    let (_, (interfaces, addresses)) = sizes.find(|(known, _)| *known == size)?;
    Some(InstanceLimits {
        interfaces: *interfaces,
        ipv4: *addresses,
        ipv6: *addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (name, expected) in [
            ("m6i.xlarge", Some((4, 15))),
            ("m6i.4xlarge", Some((8, 30))),
            ("g4dn.2xlarge", Some((3, 10))),
            ("t3.medium", Some((3, 6))),
            ("c7g.medium", Some((2, 4))),
            ("m6i.nano", None),
            ("x9.large", None),
            ("x9", None),
        ] {
            let found = built_in(name).map(|limits| (limits.interfaces, limits.ipv4));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let limits = |interfaces, ipv4| InstanceLimits {
            interfaces,
            ipv4,
            ipv6: 1,
        };
        let table: LimitsTable = [("x9.huge", limits(4, 15)), ("x9.metal", limits(15, 50))]
            .map(|(name, limits)| (name.to_owned(), limits))
            .into();
        assert_eq!(
            toml::from_str::<LimitsTable>(&table_text(&table)),
            Ok(table)
        );
    }
}
