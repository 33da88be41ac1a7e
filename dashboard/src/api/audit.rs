//! The audit trail, and the evidence for it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::answer::AnswerBytes;
use super::events::Entries;
use super::problem::{ApiError, Problem};
use super::{Client, parse};
use crate::web::query::url;

/// Filter and place of a page of the trail, as the URL has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrailQuery {
    /// `all` includes the facts of deliveries.
    pub(crate) facts: Option<String>,
    /// Kind and id, such as `User/<id>`.
    pub(crate) subject: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) fact_type: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    /// Cursor of the page; `None`: the latest one.
    pub(crate) after: Option<String>,
}

/// A page of the trail.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TrailPage {
    /// Cursor of the next page; `None`: it is the last one.
    pub(crate) next: Option<String>,
    pub(crate) items: Vec<Entry>,
}

/// A fact of the trail.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) time: DateTime<Utc>,
    pub(crate) actor: Option<Actor>,
    #[serde(rename = "type")]
    pub(crate) fact_type: String,
    /// What the fact says, as a sentence.
    pub(crate) action: String,
    pub(crate) subject: Subject,
    /// Name of the fact in the transparency log.
    pub(crate) fact: String,
    pub(crate) request_id: Option<String>,
    pub(crate) origin: Option<Origin>,
    pub(crate) changes: Vec<Change>,
    pub(crate) details: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Actor {
    /// `user`, `api-key`, `portal-link`, `role`, `operator` or `anonymous`.
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    /// Email address of a user, or name of an API key.
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// From where a fact was caused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Origin {
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) is_erased: bool,
}

/// A setting that a fact changed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) setting: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// A public key of the logs, from when to when it signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogKey {
    /// `<name>+<key id>+<base64>`.
    pub(crate) key: String,
    /// `None`: it still signs.
    pub(crate) retired_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct LogKeys {
    keys: Vec<LogKey>,
}

/// Proof of a fact, as far as it says whether there is one.
#[derive(Deserialize)]
struct FactProof {
    proof: Option<String>,
}

impl TrailQuery {
    fn parameters(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("Facts", self.facts.as_deref()),
            ("Subject", self.subject.as_deref()),
            ("Actor", self.actor.as_deref()),
            ("Type", self.fact_type.as_deref()),
            ("From", self.from.as_deref()),
            ("To", self.to.as_deref()),
        ]
    }
}

impl Client {
    pub(crate) async fn audit_trail(&self, query: &TrailQuery) -> Result<TrailPage, ApiError> {
        let mut parameters = query.parameters().to_vec();
        parameters.push(("After", query.after.as_deref()));
        parameters.push(("Qt", Some("50")));
        self.get(&url("/audit", &parameters)).await
    }

    /// Opens an export of everything that the filter matches, oldest first.
    ///
    /// # Errors
    /// The API refuses it.
    pub(crate) async fn audit_export(&self, query: &TrailQuery, format: &str) -> Result<Response, ApiError> {
        let mut parameters = query.parameters().to_vec();
        parameters.push(("Format", Some(format)));
        self.download(&url("/audit/export", &parameters)).await
    }

    /// Opens the proofs of an event's facts.
    ///
    /// # Errors
    /// The API refuses it.
    pub(crate) async fn event_proof(&self, id: Uuid) -> Result<Response, ApiError> {
        self.download(&format!("/events/{id}/proof?Qt=200")).await
    }

    /// Returns whether a signed checkpoint covers all facts of an event.
    pub(crate) async fn is_sealed(&self, id: Uuid) -> Result<bool, ApiError> {
        let latest: Entries<FactProof> = self.get(&format!("/events/{id}/proof?Qt=1&TpOrd=desc")).await?;
        Ok(latest.items.first().is_some_and(|fact| fact.proof.is_some()))
    }

    /// Returns the signed checkpoint of the tenant's log; `None` before the first one.
    pub(crate) async fn checkpoint(&self) -> Result<Option<String>, ApiError> {
        sealed(self.text("/api/v1/audit/log/checkpoint").await)
    }

    /// Returns the signed checkpoint of the installation's log; `None` before the first one.
    pub(crate) async fn installation_checkpoint(&self) -> Result<Option<String>, ApiError> {
        sealed(self.text("/.well-known/hooksentry-log/checkpoint").await)
    }

    /// Returns the public keys that ever signed a checkpoint, oldest first.
    pub(crate) async fn log_keys(&self) -> Result<Vec<LogKey>, ApiError> {
        let LogKeys { keys } = parse(&self.whole("/.well-known/hooksentry-log-keys").await?)?;
        Ok(keys)
    }

    async fn text(&self, path: &str) -> Result<String, ApiError> {
        Ok(String::from_utf8_lossy(&self.whole(path).await?.bytes).into_owned())
    }

    async fn whole(&self, path: &str) -> Result<AnswerBytes, ApiError> {
        let answer = self.open(Method::GET, path, Body::empty()).await;
        self.read(answer).await
    }

    /// Returns an answer that may be of any size, as it is.
    async fn download(&self, path: &str) -> Result<Response, ApiError> {
        let answer = self.open(Method::GET, &format!("/api/v1{path}"), Body::empty()).await;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = self.api.memory.read(answer.into_body()).await?;
        Err(ApiError::Problem(Problem::read(status, &body.bytes)))
    }
}

fn sealed(checkpoint: Result<String, ApiError>) -> Result<Option<String>, ApiError> {
    match checkpoint {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.is("not-found") => Ok(None),
        Err(error) => Err(error),
    }
}
