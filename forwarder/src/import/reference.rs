//! What a declaration's names lead to.

use serde_json::Value;

use super::step;

/// Where something is declared.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The whole declaration (class `ADC`).
    pub root: &'a Value,
    /// The pointer to it.
    pub at: &'a str,
    /// Tenant.
    pub tenant: &'a str,
    /// Application.
    pub application: &'a str,
}

/// A value that names something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// It is in the declaration.
    Here {
        /// What it is.
        value: &'a Value,
        /// Where.
        pointer: String,
        /// Its name, with tenant and application.
        name: [&'a str; 3],
    },
    /// It is on the BIG-IP alone.
    Device(&'a str),
    /// It is a word: something built in, or it is nowhere.
    Word(&'a str),
}

impl<'a> Place<'a> {
    /// What a value refers to; `None`: it is no reference.
    pub fn resolve(&self, value: &'a Value) -> Option<Reference<'a>> {
        if let Some(path) = value.get("bigip").and_then(Value::as_str) {
            return Some(Reference::Device(path));
        }
        let path = value
            .as_str()
            .or_else(|| value.get("use").and_then(Value::as_str))?;
        Some(self.find(path).unwrap_or(Reference::Word(path)))
    }

    fn find(&self, path: &'a str) -> Option<Reference<'a>> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let name = match parts[..] {
            [name] => [self.tenant, self.application, name],
            [application, name] => [self.tenant, application, name],
            [tenant, application, name] => [tenant, application, name],
            _ => return None,
        };
        let mut value = self.root;
        let mut pointer = self.at.to_owned();
        for part in name {
            value = value.get(part)?;
            pointer = step(&pointer, part);
        }
        Some(Reference::Here {
            value,
            pointer,
            name,
        })
    }
}
