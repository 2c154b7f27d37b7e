//! What the instance knows of itself: the metadata service, version 2.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HOST;

use super::environment::Environment;
use super::http::{Answer, Client, HttpError};
use crate::config::model::Url;

/// It is on the same host.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long a token is good, seconds: the longest there is.
const TOKEN_SECONDS: &str = "21600";
/// As other programs of this cloud take it.
const VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// The metadata service.
pub struct Metadata {
    client: Client,
    token: Mutex<Option<String>>,
}

impl Metadata {
    /// Asks nothing yet.
    pub fn new(environment: &Environment) -> Result<Self, String> {
        let url = environment
            .get(VARIABLE)
            .unwrap_or("http://169.254.169.254");
        let url = Url::parse(url).ok_or_else(|| format!("{VARIABLE} is no URL"))?;
        Ok(Self {
            client: Client::new(url, None, None)?,
            token: Mutex::default(),
        })
    }

    /// The text at a path below `/latest/`; `None`: there is none.
    pub async fn get(&self, path: &str) -> Result<Option<String>, String> {
        for _ in 0..2 {
            let token = self.token().await?;
            let answer = self
                .ask("GET", path, ("x-aws-ec2-metadata-token", &token))
                .await?;
            match answer.status {
                200 => return Ok(Some(answer.body.trim().to_owned())),
                404 => return Ok(None),
                // The token has expired.
                401 => *self.kept() = None,
                status => return Err(format!("the metadata service says {status} to {path}")),
            }
        }
        Err("the metadata service takes none of its tokens".to_owned())
    }

    /// The text at a path that has to be there.
    pub async fn need(&self, path: &str) -> Result<String, String> {
        let found = self.get(path).await?;
        found.ok_or_else(|| format!("the metadata service has no {path}"))
    }

    async fn token(&self) -> Result<String, String> {
        if let Some(token) = self.kept().clone() {
            return Ok(token);
        }
        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        let answer = self.ask("PUT", "api/token", ttl).await?;
        match answer.status {
            200 => {}
            403 => return Err("the metadata service is switched off for this instance".to_owned()),
            status => return Err(format!("the metadata service gives no token: {status}")),
        }
        *self.kept() = Some(answer.body.clone());
        Ok(answer.body)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, method: &str, path: &str, header: (&str, &str)) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/latest/{path}"))
            .header(HOST, self.client.server().authority())
            .header(header.0, header.1)
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request, DEADLINE).await;
        answer.map_err(|error| {
            let why = match (&error, method) {
                // The answer does not get through as many hops as there are.
                (HttpError::Late(_), "PUT") => " (in a container: is the hop limit of the instance's metadata options 2 or more?)",
                _ => "",
            };
            format!("the metadata service: {error}{why}")
        })
    }
}
