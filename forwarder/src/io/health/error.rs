//! Why a probe failed.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use crate::core::health::{CheckResult, Failure};

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Nothing in time, through the tunnel.
    #[error(
        "no answer through the tunnel within {limit:?} from {vip}: on the backend, is the tunnel taken off, \
         is the VIP on lo, and does the service listen there?"
    )]
    TunnelTimeout {
        /// So long.
        limit: Duration,
        /// Who was asked.
        vip: IpAddr,
    },
    /// The backend says that it does not take the tunnel off.
    #[error("{0}")]
    Tunnel(String),
    /// Nobody listens there.
    #[error("connection failed: {0}")]
    Refused(String),
    /// No way to it, or the connection broke.
    #[error("connection failed: {0}")]
    Unreachable(String),
    /// No TLS session.
    #[error("no TLS session: {0}")]
    Tls(String),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(String),
    /// An answer with another status.
    #[error("HTTP status {0}")]
    Status(u16),
    /// An answer without what it must hold.
    #[error("the answer lacks {expected}: {found}")]
    Content {
        /// What it must hold.
        expected: String,
        /// How it begins.
        found: String,
    },
    /// It is this host that cannot ask.
    #[error("the check could not be made: {0}")]
    NotMade(String),
}

impl ProbeError {
    fn result(&self) -> CheckResult {
        match self {
            Self::Timeout(_) | Self::TunnelTimeout { .. } => CheckResult::Timeout,
            Self::Tunnel(_) => CheckResult::Tunnel,
            Self::Refused(_) => CheckResult::Refused,
            Self::Unreachable(_) => CheckResult::Unreachable,
            Self::Tls(_) => CheckResult::Tls,
            Self::Http(_) => CheckResult::Protocol,
            Self::Status(_) => CheckResult::Status,
            Self::Content { .. } => CheckResult::Content,
            Self::NotMade(_) => CheckResult::NotMade,
        }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        Self {
            result: error.result(),
            text: error.to_string(),
        }
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused(text),
            // No descriptor, memory, local port, capability; or a packet filter of this host.
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EPERM
                | libc::EACCES
                | libc::EAFNOSUPPORT,
            ) => Self::NotMade(text),
            _ => Self::Unreachable(text),
        }
    }
}
