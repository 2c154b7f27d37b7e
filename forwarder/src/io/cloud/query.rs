//! Requests of the query protocol: parameters in the body, signed, XML in the answer.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use roxmltree::{Document, Node};

use super::credentials::{Credentials, Provider};
use super::environment::Environment;
use super::http::{Answer, Client, HttpError};
use super::signing::{AGENT, Service, Unsigned, signed};
use crate::config::model::Url;
use crate::core::time::parse_utc;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const EC2_VERSION: &str = "2016-11-15";
const STS_VERSION: &str = "2011-06-15";
/// Seconds that credentials of a web identity are good.
const SESSION: &str = "3600";
const STS_DEADLINE: Duration = Duration::from_secs(10);

/// Parameters by name.
pub type Parameters = Vec<(String, String)>;

/// A request that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The API's code for it; empty: it did not answer.
    pub code: String,
    /// For people.
    pub text: String,
    /// Whether it may be granted another time.
    pub again: bool,
}

impl Refusal {
    fn lost(error: &HttpError) -> Self {
        Self {
            code: String::new(),
            text: error.to_string(),
            again: true,
        }
    }

    fn unsigned(text: String) -> Self {
        Self {
            code: String::new(),
            text,
            again: true,
        }
    }
}

/// The end of names of hosts in a region's partition.
pub fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("us-isob-") {
        "sc2s.sgov.gov"
    } else if region.starts_with("us-iso-") {
        "c2s.ic.gov"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else {
        "amazonaws.com"
    }
}

/// The public API of a service in a region.
pub fn public(service: &str, region: &str) -> Url {
    Url {
        tls: true,
        host: format!("{service}.{region}.{}", suffix(region)),
        port: 443,
    }
}

/// The compute API of a region.
pub struct Query {
    client: Client,
    region: String,
    provider: Arc<Provider>,
}

impl Query {
    /// Asks nothing yet.
    pub fn new(client: Client, region: String, provider: Arc<Provider>) -> Self {
        Self {
            client,
            region,
            provider,
        }
    }

    /// Asks for an action; the answer is XML.
    pub async fn ask(
        &self,
        action: &str,
        parameters: Parameters,
        deadline: Duration,
    ) -> Result<String, Refusal> {
        let credentials = self.provider.get(&self.region).await;
        let credentials = credentials.map_err(Refusal::unsigned)?;
        let body = form(action, EC2_VERSION, parameters);
        let request = Unsigned {
            method: "POST",
            path: "/",
            headers: &[("content-type", FORM)],
            body,
        };
        let service = (Service::Ec2, self.region.as_str());
        let request = signed(&self.client, service, &credentials, request);
        let request = request.map_err(Refusal::unsigned)?;
        let answer = self.client.send(request, deadline).await;
        let answer = answer.map_err(|error| Refusal::lost(&error))?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let refusal = refusal(&answer);
        if CREDENTIALS.contains(&refusal.code.as_str()) {
            self.provider.refuse(&credentials);
        }
        Err(refusal)
    }
}

/// Refusals that other credentials may end.
const CREDENTIALS: [&str; 6] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "TokenRefreshRequired",
];
/// Refusals that time may end.
const BUSY: [&str; 9] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "BandwidthLimitExceeded",
    "ResourceCountExceeded",
    "IncorrectState",
];

fn refusal(answer: &Answer) -> Refusal {
    let document = Document::parse(&answer.body).ok();
    let find = |name: &str| {
        let root = document.as_ref()?.root_element();
        let mut all = root.descendants();
        let found = all.find(|node| node.has_tag_name(name))?;
        found.text().map(str::to_owned)
    };
    let code = find("Code").unwrap_or_default();
    let text = match (code.as_str(), find("Message")) {
        ("", _) => format!("status {}", answer.status),
        (_, None) => code.clone(),
        (_, Some(message)) => format!("{code}: {message}"),
    };
    let again = answer.status >= 500
        || answer.status == 429
        || CREDENTIALS.contains(&code.as_str())
        || BUSY.contains(&code.as_str());
    Refusal { code, text, again }
}

fn form(action: &str, version: &str, parameters: Parameters) -> String {
    let head = [("Action", action), ("Version", version)];
    let head = head.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all = head.into_iter().chain(parameters);
    let pairs = all.map(|(name, value)| format!("{}={}", escaped(&name), escaped(&value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// As a form has it: everything but what RFC 3986 calls unreserved.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

/// The text of a child.
pub fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut children = node.children();
    children.find(|child| child.has_tag_name(name))?.text()
}

/// The items of a set below a node.
pub fn items<'a, 'i>(node: Node<'a, 'i>, set: &str) -> Vec<Node<'a, 'i>> {
    let mut children = node.children();
    let set = children.find(|child| child.has_tag_name(set));
    let items = set.into_iter().flat_map(|set| set.children());
    items.filter(|item| item.has_tag_name("item")).collect()
}

/// Credentials of a role for whoever has the token in a file.
pub async fn assume_role(
    environment: &Environment,
    (file, role): (&str, &str),
    region: &str,
) -> Result<Credentials, String> {
    let token = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let url = match environment.get("AWS_ENDPOINT_URL_STS") {
        Some(url) => Url::parse(url).ok_or("AWS_ENDPOINT_URL_STS is no URL")?,
        None => public("sts", region),
    };
    let parameters = [
        ("RoleArn", role),
        ("RoleSessionName", "forwarder"),
        ("DurationSeconds", SESSION),
        ("WebIdentityToken", token.trim()),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = form("AssumeRoleWithWebIdentity", STS_VERSION, parameters.into());
    let client = Client::new(url, None, None)?;
    let request = Request::post("/")
        .header(HOST, client.server().authority())
        .header(CONTENT_TYPE, FORM)
        .header(USER_AGENT, AGENT)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = client.send(request, STS_DEADLINE).await;
    let answer = answer.map_err(|error| format!("the web identity: {error}"))?;
    if answer.status != 200 {
        return Err(format!("the web identity: {}", refusal(&answer).text));
    }
    let unreadable = || "the web identity's credentials can't be read".to_owned();
    let document = Document::parse(&answer.body).map_err(|_| unreadable())?;
    let mut all = document.descendants();
    let found = all.find(|node| node.has_tag_name("Credentials"));
    let found = found.ok_or_else(unreadable)?;
    let text = |name: &str| child(found, name).map(str::to_owned);
    Ok(Credentials {
        key: text("AccessKeyId").ok_or_else(unreadable)?,
        secret: text("SecretAccessKey").ok_or_else(unreadable)?,
        token: text("SessionToken"),
        until: text("Expiration").and_then(|until| parse_utc(&until)),
        from: "the web identity",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.to_owned(),
            etag: None,
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let error = |code: &str| {
            format!(
                "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"
            )
        };
        for (status, code, again) in [
            (503, "RequestLimitExceeded", true),
            (400, "RequestLimitExceeded", true),
            (400, "ExpiredToken", true),
            (500, "InternalError", true),
            (400, "InvalidAllocationID.NotFound", false),
            (403, "UnauthorizedOperation", false),
        ] {
            let refusal = refusal(&answer(status, &error(code)));
            assert_eq!((refusal.code.as_str(), refusal.again), (code, again));
            assert_eq!(refusal.text, format!("{code}: m"));
        }
        let html = refusal(&answer(502, "<html>Bad"));
        assert_eq!((html.text.as_str(), html.again), ("status 502", true));
    }

    #[test]
    fn forms_and_hosts() {
        let parameters = vec![("A.1".to_owned(), "::/0 &=+é".to_owned())];
        let body = form("DoIt", "1", parameters);
        assert_eq!(
            body,
            "Action=DoIt&Version=1&A.1=%3A%3A%2F0%20%26%3D%2B%C3%A9"
        );
        for (region, host) in [
            ("eu-central-1", "ec2.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "ec2.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "ec2.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", "ec2.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "ec2.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "ec2.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(public("ec2", region).host, host);
        }
    }
}
