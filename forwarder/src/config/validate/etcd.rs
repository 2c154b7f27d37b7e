//! Where a lease is to be had.

use std::time::Duration;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::Etcd;
use super::super::schema;
use super::super::value::FilePath;
use super::view::View;

const LEASE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

impl View<'_, '_> {
    pub(super) fn etcd(&mut self, section: &Spanned<schema::Etcd>) -> Option<Etcd> {
        let span = section.span;
        let section = &section.value;
        let lease = section.lease.as_ref()?;
        let [least, most] = LEASE;
        if lease.value < least || lease.value > most || lease.value.subsec_nanos() != 0 {
            let message = format!("{:?} is no time that etcd gives a lease for", lease.value);
            self.out.push(
                Diagnostic::new(Code::OutOfRange, lease.span, message)
                    .expected("whole seconds, 2 to 60"),
            );
        }
        let path = |file: &Option<_>| {
            file.as_ref()
                .map(|file: &Spanned<FilePath>| file.value.0.clone())
        };
        let user = section.user.as_ref().map(|user| user.value.0.clone());
        let identity = (path(&section.certificate_file), path(&section.key_file));
        let login = (user, path(&section.password_file));
        self.both(
            span,
            ["certificate_file", "key_file"],
            [identity.0.is_some(), identity.1.is_some()],
        );
        self.both(
            span,
            ["user", "password_file"],
            [login.0.is_some(), login.1.is_some()],
        );
        let secret = identity.0.is_some() || login.0.is_some();
        if secret && section.ca_file.is_none() {
            let message = "without ca_file nothing is encrypted, and anybody could be etcd";
            self.out.push(
                Diagnostic::new(Code::MissingKey, span, message)
                    .help("name the authorities of the servers' certificates, as ca_file = …"),
            );
        }
        let servers = section.address.as_ref()?.value.0.iter();
        Some(Etcd {
            address: servers.map(|server| server.value).collect(),
            ca_file: path(&section.ca_file),
            identity: identity.0.zip(identity.1),
            user: login.0.zip(login.1),
            lease: lease.value,
        })
    }

    /// Of two keys one is of no use without the other.
    fn both(&mut self, span: Span, keys: [&str; 2], there: [bool; 2]) {
        let [one, other] = keys;
        let (has, lacks) = match there {
            [true, false] => (one, other),
            [false, true] => (other, one),
            _ => return,
        };
        let message = format!("{has} needs {lacks} too");
        self.push(Code::MissingKey, span, message);
    }
}
