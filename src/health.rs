//! Whether this process lives, whether it can work, and what it measured.
//!
//! Every process answers these, whatever its roles. *Live* means that it runs: only a restart helps when
//! it does not. *Ready* means that it can do its work now, which may change by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use chrono::SecondsFormat;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::queue::{JobQueue, QueueState};
use crate::telemetry::Telemetry;

/// How long the database may take to answer before it counts as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a process needs to work, and its measurements.
#[derive(Clone, Debug)]
pub struct Health {
    pub pool: PgPool,
    /// The queue, where a role needs one.
    pub queue: Option<Arc<dyn JobQueue>>,
    /// Cancelled when no new work is to be taken on.
    pub intake: CancellationToken,
    pub telemetry: Telemetry,
}

impl Health {
    /// The routes, to be merged with those of the API.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(live))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    /// What stands in the way of working, by name; nothing when the process is ready.
    pub async fn not_ready_reasons(&self) -> Vec<(&'static str, String)> {
        let mut not_ready_reasons = Vec::new();
        if self.intake.is_cancelled() {
            not_ready_reasons.push(("process", "stopping".to_owned()));
        }
        let answer = timeout(ANSWER_WITHIN, sqlx::query("SELECT 1").execute(&self.pool)).await;
        if !matches!(answer, Ok(Ok(_))) {
            not_ready_reasons.push(("database", "does not answer".to_owned()));
        }
        match self.queue.as_ref().map(|queue| queue.state()) {
            None | Some(QueueState::Ready) => {}
            Some(QueueState::Blocked { .. }) => not_ready_reasons.push(("queue", "takes no jobs".to_owned())),
            Some(QueueState::Disconnected) => not_ready_reasons.push(("queue", "not connected".to_owned())),
        }
        not_ready_reasons
    }
}

async fn live() -> impl IntoResponse {
    let timestamp = clock::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "status": "healthy", "timestamp": timestamp })))
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let not_ready_reasons = health.not_ready_reasons().await;
    let (code, status) = if not_ready_reasons.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let not_ready_reasons: serde_json::Map<_, _> =
        not_ready_reasons.into_iter().map(|(name, reason)| (name.to_owned(), reason.into())).collect();
    (
        code,
        [(CACHE_CONTROL, "no-store")],
        Json(json!({ "status": status, "not_ready_reasons": not_ready_reasons })),
    )
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.telemetry.render())
}
