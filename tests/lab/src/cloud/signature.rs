//! AWS Signature Version 4, from its definition: what a server computes.

use ring::{digest, hmac};

use super::http::Request;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// What the Authorization header says.
pub struct Claim {
    pub key: String,
    scope: String,
    headers: String,
    signature: String,
}

impl Claim {
    /// `None`: there is no such header.
    pub fn of(request: &Request) -> Option<Self> {
        let header = request.header("authorization");
        let parts = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            let mut parts = parts.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (key, scope) = part("Credential")?.split_once('/')?;
        Some(Self {
            key: key.to_owned(),
            scope: scope.to_owned(),
            headers: part("SignedHeaders")?.to_owned(),
            signature: part("Signature")?.to_owned(),
        })
    }

    /// Whether whoever has this secret has signed the request, for this service and region.
    pub fn is_good(
        &self,
        request: &Request,
        secret: &str,
        (service, region): (&str, &str),
    ) -> bool {
        let scope: Vec<&str> = self.scope.split('/').collect();
        let [date, at, of, "aws4_request"] = scope[..] else {
            return false;
        };
        let time = request.header("x-amz-date");
        let signed: Vec<&str> = self.headers.split(';').collect();
        let needed = ["host", "x-amz-date"];
        if at != region
            || of != service
            || !time.starts_with(date)
            || !needed.iter().all(|name| signed.contains(name))
        {
            return false;
        }
        let headers: String = signed
            .iter()
            .map(|name| format!("{name}:{}\n", request.header(name)))
            .collect();
        let body = sha256(&request.body);
        let canonical = format!(
            "{}\n{}\n\n{headers}\n{}\n{body}",
            request.method, request.path, self.headers
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{}\n{}",
            self.scope,
            sha256(&canonical)
        );
        let mut key = sign(format!("AWS4{secret}").as_bytes(), date);
        for part in [at, of, "aws4_request"] {
            key = sign(&key, part);
        }
        hex(&sign(&key, &text)) == self.signature
    }
}
