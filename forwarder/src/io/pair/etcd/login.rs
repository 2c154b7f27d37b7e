//! What a node shows to etcd: a certificate, a name and a password.

use std::fmt::{self, Debug, Formatter};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio_rustls::TlsConnector;

use crate::config::model;
use crate::io::health::tls::{self, TlsError};

/// A file that etcd is asked with is no good.
#[derive(Debug, Error)]
pub enum LoginError {
    /// A certificate, or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The password cannot be read.
    #[error("password_file {}: {source}", .path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read a secret.
    #[error("{} can be read by others; chmod 600 it", .0.display())]
    Readable(PathBuf),
}

/// A name and a password.
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Debug for Login {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// Reads the certificates; `None`: plain HTTP.
pub fn connector(settings: &model::Etcd) -> Result<Option<TlsConnector>, LoginError> {
    let Some(authorities) = &settings.ca_file else {
        return Ok(None);
    };
    let identity = settings.identity.as_ref();
    if let Some((_, key)) = identity {
        refuse_readable(key)?;
    }
    let identity = identity.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    Ok(Some(tls::client(authorities, identity)?))
}

/// Reads the password.
pub fn login(settings: &model::Etcd) -> Result<Option<Login>, LoginError> {
    let Some((user, path)) = &settings.user else {
        return Ok(None);
    };
    let failed = |source| LoginError::Password {
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    refuse_readable(path)?;
    Ok(Some(Login {
        user: user.clone(),
        password: text.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

fn refuse_readable(path: &Path) -> Result<(), LoginError> {
    match fs::metadata(path) {
        Ok(file) if file.mode() & 0o077 != 0 => Err(LoginError::Readable(path.to_owned())),
        // Whoever reads it says why it can't be.
        _ => Ok(()),
    }
}
