//! Whether the service lives, is ready, and what it measures.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::http::problem::{Kind, Problem};
use crate::api::http::time::Timestamp;
use crate::clock;
use crate::health::Health as ProcessHealth;
use crate::projector::ProjectorHealth;

/// How long the read models may take to say how they are.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// What looking after the service needs.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) process: ProcessHealth,
    pub(crate) projector: ProjectorHealth,
}

/// That the service is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    #[schema(examples("healthy"))]
    status: &'static str,
    timestamp: Timestamp,
}

/// That the service can work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready`, or `degraded` while a read model stands still.
    #[schema(examples("ready"))]
    status: &'static str,
    timestamp: Timestamp,
    /// Each read model.
    projections: Vec<ReadModel>,
}

/// A read model.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadModel {
    name: &'static str,
    /// Whether it stands still because of a fact that it cannot take; the log says why.
    halted: bool,
    /// About how many facts it has not taken yet.
    lag_facts: u64,
    /// How old the oldest of them is.
    lag_seconds: f64,
}

/// Say whether the service is there; it looks at nothing else.
#[utoipa::path(get, path = "/health", tag = "Health", responses((status = 200, body = Alive)))]
pub(crate) async fn health() -> Json<Alive> {
    Json(Alive { status: "healthy", timestamp: clock::now().into() })
}

/// Say whether the process should go on; it looks at nothing else.
#[utoipa::path(get, path = "/health/live", tag = "Health", responses((status = 200, body = Alive)))]
pub(crate) async fn live() -> Json<Alive> {
    health().await
}

/// Say whether the service can work now.
#[utoipa::path(get, path = "/health/ready", tag = "Health",
    responses((status = 200, body = Ready), (status = 503)))]
pub(crate) async fn ready(State(health): State<Health>) -> Result<Json<Ready>, Problem> {
    let not_ready_reasons = health.process.not_ready_reasons().await;
    if !not_ready_reasons.is_empty() {
        let not_ready_reasons: Vec<_> =
            not_ready_reasons.iter().map(|(name, reason)| format!("{name} {reason}")).collect();
        let detail = format!("Not ready: {}.", not_ready_reasons.join(", "));
        return Err(Problem::new(Kind::Unavailable, detail));
    }
    let looked = tokio::time::timeout(LOOK_TIME_MAX, health.projector.look()).await;
    let looked = looked.map_err(|_| Problem::unavailable("the checkpoints cannot be read in time"))??;
    let halted = looked.halted().next().is_some();
    let projections = looked.projections.into_iter().map(|model| ReadModel {
        name: model.projection.name(),
        halted: model.halted_because.is_some(),
        lag_facts: model.lag_facts,
        lag_seconds: model.lag.as_secs_f64(),
    });
    Ok(Json(Ready {
        status: if halted { "degraded" } else { "ready" },
        timestamp: clock::now().into(),
        projections: projections.collect(),
    }))
}

/// Everything that this process measured, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Health",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.process.telemetry.render())
}
