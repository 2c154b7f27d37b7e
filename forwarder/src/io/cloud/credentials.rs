//! Credentials: from the environment, a web identity, a profile, or the instance's role.

use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::environment::Environment;
use super::metadata::Metadata;
use super::query;
use crate::core::time::parse_utc;
use crate::io::clock;

/// Credentials are renewed when they are good for less than this.
const EARLY: Duration = Duration::from_secs(300);

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// A session's token.
    pub token: Option<String>,
    /// Until when they are good, since 1970; `None`: they don't end.
    pub until: Option<Duration>,
    /// Where they are from.
    pub from: &'static str,
}

/// Never the secrets.
impl Debug for Credentials {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "credentials of {}", self.from)
    }
}

/// Gets credentials, and keeps them while they are good.
pub struct Provider {
    environment: Environment,
    metadata: Arc<Metadata>,
    kept: Mutex<Option<Arc<Credentials>>>,
}

impl Provider {
    /// Asks nobody yet.
    pub fn new(environment: Environment, metadata: Arc<Metadata>) -> Self {
        Self {
            environment,
            metadata,
            kept: Mutex::default(),
        }
    }

    /// Credentials that are good for a while.
    pub async fn get(&self, region: &str) -> Result<Arc<Credentials>, String> {
        let kept = self.kept().clone();
        if let Some(kept) = kept.as_ref().filter(|kept| is_good(kept, EARLY)) {
            return Ok(Arc::clone(kept));
        }
        match self.find(region).await {
            Ok(found) => {
                let found = Arc::new(found);
                *self.kept() = Some(Arc::clone(&found));
                Ok(found)
            }
            // What is left of the old ones is better than nothing.
            Err(error) => kept
                .filter(|kept| is_good(kept, Duration::ZERO))
                .ok_or(error),
        }
    }

    /// These were refused: others are needed.
    pub fn refuse(&self, refused: &Credentials) {
        let mut kept = self.kept();
        if kept.as_deref() == Some(refused) {
            *kept = None;
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Arc<Credentials>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, region: &str) -> Result<Credentials, String> {
        let var = |name: &str| self.environment.get(name);
        if let (Some(key), Some(secret)) = (var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY"))
        {
            return Ok(Credentials {
                key: key.to_owned(),
                secret: secret.to_owned(),
                token: var("AWS_SESSION_TOKEN").map(str::to_owned),
                until: None,
                from: "the environment",
            });
        }
        if let (Some(file), Some(role)) = (var("AWS_WEB_IDENTITY_TOKEN_FILE"), var("AWS_ROLE_ARN"))
        {
            return query::assume_role(&self.environment, (file, role), region).await;
        }
        match profile(&self.environment) {
            Some(found) => Ok(found),
            None => self.of_instance().await,
        }
    }

    async fn of_instance(&self) -> Result<Credentials, String> {
        const ROLES: &str = "meta-data/iam/security-credentials/";
        let roles = self.metadata.get(ROLES).await?.unwrap_or_default();
        let role = roles.lines().next().unwrap_or_default();
        if role.is_empty() {
            return Err("the instance has no role, and nothing else gives credentials".to_owned());
        }
        let text = self.metadata.need(&format!("{ROLES}{role}")).await?;
        let role: Role = serde_json::from_str(&text)
            .map_err(|_| "the credentials of the instance's role can't be read".to_owned())?;
        if role.code != "Success" {
            return Err(format!("the instance's role: {}", role.code));
        }
        Ok(Credentials {
            key: role.key,
            secret: role.secret,
            token: Some(role.token),
            until: parse_utc(&role.expiration),
            from: "the instance's role",
        })
    }
}

fn is_good(credentials: &Credentials, time: Duration) -> bool {
    credentials
        .until
        .is_none_or(|until| until > clock::wall() + time)
}

/// As the metadata service gives them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    code: String,
    #[serde(rename = "AccessKeyId", default)]
    key: String,
    #[serde(rename = "SecretAccessKey", default)]
    secret: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    expiration: String,
}

/// Keys of the profile, if there is one.
fn profile(environment: &Environment) -> Option<Credentials> {
    let name = environment.get("AWS_PROFILE").unwrap_or("default");
    let path = match environment.get("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(environment.get("HOME")?).join(".aws/credentials"),
    };
    of_profile(&std::fs::read_to_string(path).ok()?, name)
}

fn of_profile(text: &str, name: &str) -> Option<Credentials> {
    let (mut inside, mut key, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').trim() == name;
        } else if inside && let Some((word, value)) = line.split_once('=') {
            let value = Some(value.trim().to_owned());
            match word.trim() {
                "aws_access_key_id" => key = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials {
        key: key?,
        secret: secret?,
        token,
        until: None,
        from: "the profile",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_no_secret_in_sight() {
        let text = "# a comment\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=abc\n\n\
                    [other]\naws_access_key_id=AKIA2\naws_secret_access_key = s=x\naws_session_token=t\n[bad]\naws_access_key_id=1\n";
        let found = of_profile(text, "default").expect("a profile");
        assert_eq!(
            (found.key.as_str(), found.secret.as_str()),
            ("AKIA1", "abc")
        );
        let other = of_profile(text, "other").expect("a profile");
        assert_eq!(
            (other.secret.as_str(), other.token.as_deref()),
            ("s=x", Some("t"))
        );
        assert_eq!(of_profile(text, "bad"), None);
        assert_eq!(of_profile(text, "none"), None);
        assert_eq!(format!("{found:?}"), "credentials of the profile");
    }
}
