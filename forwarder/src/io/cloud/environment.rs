//! Variables of the process, as other programs of this cloud take them.

use std::collections::BTreeMap;
use std::env;

/// What is looked up: some of it is secret.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        let own = |name: &str| name == "HOME" || name.starts_with("AWS_");
        Self(
            env::vars_os()
                .filter_map(|(name, value)| {
                    let name = name.into_string().ok().filter(|name| own(name))?;
                    Some((name, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// These and no others.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(variables.into_iter().map(owned).collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
