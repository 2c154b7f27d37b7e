//! A lease in etcd: of two nodes that are cut apart the one that has it may be active.
//!
//! There is one key for the pair, which a node creates with a lease that etcd has given it, and moves to a new lease
//! before that ends. Each move is a transaction that names the revision it follows, so one that comes late changes
//! nothing; and each is agreed on by a majority of the servers, so one that is cut off from the others gives nothing.
//! Time counts from before a lease was asked for: it ends here before it ends there.

mod client;
mod login;

use std::time::Duration;

use log::{info, warn};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::witness::Report;
use super::{Request, Requests};
use crate::config::model;
use crate::core::pair::partition::Permission;
use crate::io::clock;
use client::{Client, Failure};
pub use login::LoginError;

/// Between two tries to get the lease.
const AGAIN: Duration = Duration::from_millis(100);
/// Between two questions while nothing is wanted: it shows that etcd is there, and keeps the connection.
const REST: Duration = Duration::from_secs(2);

/// The wish for a lease: see [`crate::core::pair::Pair::wish`].
pub type Wishes = watch::Receiver<Option<u64>>;

/// Asks etcd.
pub struct Etcd {
    client: Client,
    key: String,
    /// This node's name: who has the key.
    node: String,
    lease: Duration,
    /// What etcd gave last, until it is given back.
    granted: Option<String>,
    /// The key's latest revision as far as known, if this node has it.
    revision: Option<String>,
    /// Who else has the key.
    other: Option<String>,
    report: Report,
}

impl Etcd {
    /// `pair`: what the pair's key is called by.
    pub fn new(
        settings: &model::Etcd,
        node: &str,
        pair: &str,
        report: Report,
    ) -> Result<Self, LoginError> {
        Ok(Self {
            client: Client::new(settings)?,
            key: base64(format!("forwarder/{pair}").as_bytes()),
            node: node.to_owned(),
            lease: settings.lease,
            granted: None,
            revision: None,
            other: None,
            report,
        })
    }

    /// For as long as the daemon runs.
    pub async fn watch(mut self, mut wishes: Wishes, requests: Requests) {
        loop {
            let wish = *wishes.borrow_and_update();
            // A question that is given up may still be answered by etcd: see [`Self::claim`].
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                () = self.turn(wish, &requests) => {}
            }
        }
    }

    async fn turn(&mut self, wish: Option<u64>, requests: &Requests) {
        let (result, pause) = match wish {
            Some(_) => match self.claim().await {
                Ok(Some(until)) => {
                    requests.send(Request::Allow(Permission { wish, until }));
                    (Ok(Some(until)), self.lease / 4)
                }
                Ok(None) => (Ok(None), AGAIN),
                Err(failure) => (Err(failure), AGAIN),
            },
            None => match self.rest().await {
                Ok(()) => (Ok(None), REST),
                Err(failure) => (Err(failure), REST / 4),
            },
        };
        self.tell(result);
        sleep(pause).await;
    }

    /// Gets the key, or keeps it: until when it is certainly this node's. Nothing is assumed of what was asked
    /// before and not answered: who has the key, and at which revision, etcd says.
    async fn claim(&mut self) -> Result<Option<Duration>, Failure> {
        if self.other.is_some() {
            // No lease is asked for in vain.
            self.look().await?;
            if self.other.is_some() {
                return Ok(None);
            }
        }
        let since = clock::monotonic();
        let wanted = json!({ "TTL": self.lease.as_secs() });
        let answer = self.client.call("/v3/lease/grant", &wanted).await?;
        let lease = text(&answer["ID"]).ok_or(Failure::Nonsense)?;
        let lasts = text(&answer["TTL"]).and_then(|seconds| seconds.parse().ok());
        let lasts = Duration::from_secs(lasts.ok_or(Failure::Nonsense)?);
        self.granted = Some(lease.clone());
        // The second time with the revision that the first one was told.
        for _ in 0..2 {
            let answer = self.client.call("/v3/kv/txn", &self.put(&lease)).await?;
            if answer["succeeded"] == true {
                self.revision = text(&answer["header"]["revision"]);
                // Two clocks do not run alike.
                return Ok(Some(since + lasts * 9 / 10));
            }
            self.learn(&answer["responses"][0]["response_range"]);
            if self.other.is_some() {
                break;
            }
        }
        Ok(None)
    }

    /// Writes the key with this lease if it is as this node knows it (0: it is not there), else reads it.
    fn put(&self, lease: &str) -> Value {
        let revision = self.revision.as_deref().unwrap_or("0");
        let value = base64(self.node.as_bytes());
        json!({
            "compare": [{ "result": "EQUAL", "target": "MOD", "key": self.key, "mod_revision": revision }],
            "success": [{ "request_put": { "key": self.key, "value": value, "lease": lease } }],
            "failure": [{ "request_range": { "key": self.key } }],
        })
    }

    /// Takes in who has the key. A daemon of this node that was there before may be it: that does nothing any more.
    fn learn(&mut self, range: &Value) {
        let found = &range["kvs"][0];
        let value = text(&found["value"]);
        let own = value.as_deref() == Some(&base64(self.node.as_bytes()));
        self.revision = text(&found["mod_revision"]).filter(|_| own);
        self.other = value.filter(|_| !own);
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let wanted = json!({ "key": self.key });
        let answer = self.client.call("/v3/kv/range", &wanted).await?;
        self.learn(&answer);
        Ok(())
    }

    /// Gives back what is not wanted any more, and sees that etcd is there.
    async fn rest(&mut self) -> Result<(), Failure> {
        if let Some(lease) = &self.granted {
            let wanted = json!({ "ID": lease });
            match self.client.call("/v3/lease/revoke", &wanted).await {
                // Refused: it is over already.
                Ok(_) | Err(Failure::Refused { .. }) => self.granted = None,
                Err(failure) => return Err(failure),
            }
        }
        self.look().await
    }

    fn tell(&self, result: Result<Option<Duration>, Failure>) {
        let mut view = self.report.lock();
        let (until, problem) = match result {
            Ok(until) => (until, None),
            Err(failure) => (view.until, Some(failure.to_string())),
        };
        match (&view.problem, &problem) {
            (Some(_), None) => info!("etcd answers"),
            (None, Some(problem)) => warn!("etcd: {problem}"),
            _ => {}
        }
        let held = |until: Option<Duration>| until.is_some_and(|until| clock::monotonic() < until);
        match (held(view.until), held(until)) {
            (false, true) => info!("etcd: this node has the lease"),
            (true, false) => info!("etcd: this node has no lease any more"),
            _ => {}
        }
        (view.until, view.problem) = (until, problem);
        view.asked = true;
    }
}

/// Numbers of 64 bits are strings in etcd's JSON.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// RFC 4648, section 4: keys and values in etcd's JSON.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in pairs {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn answers_tell_who_has_the_key() {
        let settings = model::Etcd {
            address: Vec::new(),
            ca_file: None,
            identity: None,
            user: None,
            lease: Duration::from_secs(5),
        };
        let mut etcd =
            Etcd::new(&settings, "lb1", "7", Report::new("etcd")).expect("no file is named");
        let holder = |name: &str| json!({ "kvs": [{ "value": base64(name.as_bytes()), "mod_revision": "12" }] });
        etcd.learn(&holder("lb2"));
        assert!(etcd.other.is_some() && etcd.revision.is_none());
        etcd.learn(&holder("lb1"));
        assert!(etcd.other.is_none());
        assert_eq!(etcd.revision.as_deref(), Some("12"));
        assert_eq!(etcd.put("77")["compare"][0]["mod_revision"], "12");
        etcd.learn(&json!({}));
        assert!(etcd.other.is_none() && etcd.revision.is_none());
        assert_eq!(etcd.put("77")["compare"][0]["mod_revision"], "0");
    }
}
