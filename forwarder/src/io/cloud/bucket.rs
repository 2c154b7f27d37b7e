//! Objects in a bucket (S3) that are written on conditions: nobody overwrites what he has not seen.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Provider;
use super::http::{Answer, Client};
use super::query::public;
use super::signing::{Service, Unsigned, signed};
use crate::config::model::{Cloud, JournalBucket};

/// Nobody waits for it.
const DEADLINE: Duration = Duration::from_secs(20);
/// The condition does not hold; somebody else is writing.
const NOT_SO: [u16; 2] = [412, 409];

/// A bucket.
pub struct Bucket {
    client: Client,
    region: String,
    provider: Arc<Provider>,
    /// `/BUCKET/PREFIX`.
    path: String,
}

impl Bucket {
    /// Asks nothing yet.
    pub fn new(
        bucket: &JournalBucket,
        cloud: &Cloud,
        region: String,
        provider: Arc<Provider>,
    ) -> Result<Self, String> {
        let server = bucket.endpoint.clone();
        let server = server.unwrap_or_else(|| public("s3", &region));
        Ok(Self {
            client: Client::new(server, cloud.proxy.clone(), cloud.ca_file.as_deref())?,
            region,
            provider,
            path: format!("/{}/{}", bucket.name, bucket.prefix),
        })
    }

    /// Writes an object that is not there yet: whether it was not.
    pub async fn create(&self, key: &str, body: &str) -> Result<bool, String> {
        self.put(key, ("if-none-match", "*"), body).await
    }

    /// Writes an object that is as it was when it was read: whether it was.
    pub async fn replace(&self, key: &str, etag: &str, body: &str) -> Result<bool, String> {
        self.put(key, ("if-match", etag), body).await
    }

    /// An object, and its tag.
    pub async fn read(&self, key: &str) -> Result<(String, String), String> {
        let answer = self.ask("GET", key, &[], "").await?;
        match (answer.status, answer.etag) {
            (200, Some(etag)) => Ok((answer.body, etag)),
            (status, _) => Err(format!("GET {}{key}: status {status}", self.path)),
        }
    }

    async fn put(&self, key: &str, condition: (&str, &str), body: &str) -> Result<bool, String> {
        let kind = ("content-type", "application/json");
        let answer = self.ask("PUT", key, &[condition, kind], body).await?;
        match answer.status {
            200 => Ok(true),
            status if NOT_SO.contains(&status) => Ok(false),
            status => Err(format!("PUT {}{key}: status {status}", self.path)),
        }
    }

    async fn ask(
        &self,
        method: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let credentials = self.provider.get(&self.region).await?;
        let path = format!("{}{key}", self.path);
        let request = Unsigned {
            method,
            path: &path,
            headers,
            body: body.to_owned(),
        };
        let service = (Service::S3, self.region.as_str());
        let request = signed(&self.client, service, &credentials, request)?;
        let answer = self.client.send(request, DEADLINE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if matches!(answer.status, 400 | 401 | 403) {
            // Others may be good.
            self.provider.refuse(&credentials);
        }
        Ok(answer)
    }
}
