//! Requests with a signature, version 4.

use std::error::Error;
use std::time::UNIX_EPOCH;

use aws_credential_types::Credentials as Key;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{HOST, USER_AGENT};

use super::credentials::Credentials;
use super::http::Client;
use crate::io::clock;

/// Who asks, as servers log it.
pub const AGENT: &str = concat!("forwarder/", env!("CARGO_PKG_VERSION"));

/// A service, as a signature names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Compute.
    Ec2,
    /// Storage.
    S3,
}

/// A request without what says where it goes and who it is from.
pub struct Unsigned<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, of characters that need no escape.
    pub path: &'a str,
    /// More headers; names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: String,
}

/// Signs a request to a server.
pub fn signed(
    client: &Client,
    (service, region): (Service, &str),
    credentials: &Credentials,
    request: Unsigned<'_>,
) -> Result<Request<Full<Bytes>>, String> {
    let text = |error: &dyn Error| error.to_string();
    let host = client.server().authority();
    let (key, secret) = (&credentials.key, &credentials.secret);
    let key = Key::new(key, secret, credentials.token.clone(), None, "forwarder");
    let identity = key.into();
    let mut settings = SigningSettings::default();
    let name = match service {
        Service::Ec2 => "ec2",
        Service::S3 => {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            "s3"
        }
    };
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(name)
        .time(UNIX_EPOCH + clock::wall())
        .settings(settings)
        .build()
        .map_err(|error| text(&error))?
        .into();
    let url = format!("{}{}", client.server(), request.path);
    let own = [("host", host.as_str())].into_iter();
    let headers = own.chain(request.headers.iter().copied());
    let body = SignableBody::Bytes(request.body.as_bytes());
    let signable = SignableRequest::new(request.method, url, headers, body);
    let signable = signable.map_err(|error| text(&error))?;
    let signed = sign(signable, &parameters).map_err(|error| text(&error))?;
    let (instructions, _) = signed.into_parts();
    let mut built = Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(HOST, &host)
        .header(USER_AGENT, AGENT);
    for (name, value) in request.headers {
        built = built.header(*name, *value);
    }
    for (name, value) in instructions.headers() {
        built = built.header(name, value);
    }
    let body = Full::new(Bytes::from(request.body));
    built.body(body).map_err(|error| text(&error))
}
