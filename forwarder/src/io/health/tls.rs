//! TLS for `https`, and for etcd.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ProbeError;

/// A file that TLS needs is no good.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of authorities is no good.
    #[error("ca_file {}: {reason}", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The own certificate or its key is no good.
    #[error("{}: {reason}", .path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// With `ca_file`, servers must have a certificate of one of its authorities; without, any will do.
pub fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut config = match ca_file {
        Some(path) => config
            .with_root_certificates(authorities(path)?)
            .with_no_client_auth(),
        None => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    // Each check is to see the certificate.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Servers must have a certificate of one of the authorities of `ca_file`. `identity`: the own certificate, and its
/// key.
pub fn client(ca_file: &Path, identity: Option<(&Path, &Path)>) -> Result<TlsConnector, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(ca_file)?);
    let Some((certificate, key)) = identity else {
        return Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())));
    };
    let wrong = |path: &Path, reason: String| TlsError::Identity {
        path: path.to_owned(),
        reason,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| wrong(certificate, error.to_string()))?
        .collect();
    let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let config = config.with_client_auth_cert(chain, secret);
    let config = config.map_err(|error| wrong(certificate, error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |reason: String| TlsError::Authorities {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        // As everywhere: one that is not understood is nobody's authority.
        let _ = store.add(certificate);
    }
    if store.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(store)
}

pub async fn handshake<S>(
    connector: Option<&TlsConnector>,
    stream: S,
    host: Option<&str>,
    to: SocketAddr,
) -> Result<TlsStream<S>, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: &dyn std::error::Error| ProbeError::Tls(error.to_string());
    let Some(connector) = connector else {
        return Err(ProbeError::NotMade("TLS is not ready".to_owned()));
    };
    let name = match host {
        None => ServerName::from(to.ip()),
        Some(host) => ServerName::try_from(without_port(host).to_owned())
            .map_err(|error| ProbeError::NotMade(format!("{host}: {error}")))?,
    };
    let stream = connector.connect(name, stream).await;
    stream.map_err(|error| failed(&error))
}

/// The name in a Host header.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

/// Takes any certificate, but still wants the server to have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
