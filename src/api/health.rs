//! Health checks and metrics. Processes with the API and processes without it answer alike.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::access::authentication::{bearer_token, unauthenticated};
use crate::api::http::layers;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::ContextSource;
use crate::api::http::time::Timestamp;
use crate::clock;
use crate::completeness;
use crate::config::MetricsAccess;
use crate::database::in_time;
use crate::dispatcher::{backlog, set_aside};
use crate::event_store::log_reader;
use crate::health::Health as ProcessHealth;
use crate::projector::ProjectorHealth;
use crate::sealer;

/// Time within which the state of the read models must be read.
const READ_MODELS_TIME_MAX: Duration = Duration::from_secs(2);
/// Time within which the figures must be read that are no reason to be not ready. Without them the answer has none.
const FIGURES_TIME_MAX: Duration = Duration::from_millis(500);

/// Time for which further requests get the readiness that was looked up. A process that becomes ready is found to be so
/// at once.
const READY_AGE_MAX: Duration = Duration::from_secs(1);
const NOT_READY_AGE_MAX: Duration = Duration::from_millis(100);

/// Dependencies of the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    process: ProcessHealth,
    projector: ProjectorHealth,
    readiness: Arc<Mutex<Option<Readiness>>>,
    metrics: MetricsAccess,
}

/// Readiness of the process as it was looked up, or why it is not ready.
#[derive(Clone, Debug)]
struct Readiness {
    looked_up: Instant,
    state: Result<Ready, String>,
}

impl Health {
    pub(crate) fn new(process: ProcessHealth, metrics: MetricsAccess) -> Self {
        let projector = ProjectorHealth::new(process.pool.clone());
        Self { process, projector, readiness: Arc::default(), metrics }
    }

    /// Returns the readiness. It asks the database rarely, and one request at a time, however many there are.
    async fn readiness(&self) -> Result<Ready, String> {
        // One request looks it up, the others wait for the result.
        let mut readiness = self.readiness.lock().await;
        if let Some(known) = &*readiness {
            let age_max = if known.state.is_ok() { READY_AGE_MAX } else { NOT_READY_AGE_MAX };
            if known.looked_up.elapsed() < age_max {
                return known.state.clone();
            }
        }
        metrics::counter!("hooksentry_readiness_lookups_total").increment(1);
        let state = self.look_up_readiness().await;
        *readiness = Some(Readiness { looked_up: Instant::now(), state: state.clone() });
        state
    }

    async fn look_up_readiness(&self) -> Result<Ready, String> {
        let reasons = self.process.not_ready_reasons().await;
        if !reasons.is_empty() {
            return Err(reasons.join(", "));
        }
        let pool = &self.process.pool;
        let states = async {
            let read_models = in_time(READ_MODELS_TIME_MAX, self.projector.look()).await?;
            let completeness = in_time(READ_MODELS_TIME_MAX, completeness::look(pool)).await?;
            let set_aside_events = in_time(READ_MODELS_TIME_MAX, set_aside::count(pool)).await?;
            let evidence = in_time(READ_MODELS_TIME_MAX, sealer::look(pool)).await?;
            Ok::<_, sqlx::Error>((read_models, completeness, set_aside_events, evidence))
        };
        let (read_models, completeness, set_aside_events, evidence) = states.await.map_err(|error| {
            tracing::warn!(%error, "the state of the read models cannot be read");
            "the state of the read models cannot be read".to_owned()
        })?;
        let backlog = in_time(FIGURES_TIME_MAX, backlog::look(pool)).await.ok();
        let log_head = in_time(FIGURES_TIME_MAX, log_reader::head(pool)).await.ok().flatten();
        let quarantined_streams = read_models.quarantined_streams;
        let readers_held_back_by = read_models.held_back_by.as_ref().map(ToString::to_string);
        let is_degraded = read_models.halted().next().is_some()
            || quarantined_streams > 0
            || readers_held_back_by.is_some()
            || set_aside_events > 0
            || completeness.unaccounted > 0;
        let projections = read_models.projections.into_iter().map(|model| ReadModel {
            name: model.projection.name(),
            halted: model.halted_because.is_some(),
            lag_facts: model.lag_facts,
            lag_seconds: model.lag.as_secs_f64(),
        });
        let leads = self.process.leads.iter().map(|(role, status)| Lead {
            role,
            leads: status.leads(),
            confirmed_seconds_ago: status.age().as_secs_f64(),
        });
        Ok(Ready {
            status: if is_degraded { "degraded" } else { "ready" },
            timestamp: clock::now().into(),
            completeness: CompletenessView {
                unaccounted_events: completeness.unaccounted,
                checked_at: completeness.completed_at.map(Timestamp),
            },
            projections: projections.collect(),
            quarantined_streams,
            readers_held_back_by,
            set_aside_events,
            evidence: EvidenceView {
                lag_facts: evidence.lag_facts,
                lag_seconds: evidence.lag.as_secs_f64(),
                unsigned_logs: evidence.unsigned_logs,
                last_checkpoint_at: evidence.last_signed_at.map(Timestamp),
                last_cosigned_checkpoint_at: evidence
                    .cosigned
                    .and_then(|cosigned| cosigned.signed_at)
                    .map(Timestamp),
                last_time_stamp_at: evidence.last_stamped_at.map(Timestamp),
                uncosigned_entries: evidence.cosigned.map_or(0, |cosigned| cosigned.entries_waiting),
            },
            oldest_commit_seconds: self.process.oldest_commit().as_secs_f64(),
            leads: leads.collect(),
            backlog: backlog.map(BacklogView::from),
            log_head: log_head.map(|head| LogHeadView {
                position: head.position.unsigned_abs(),
                recorded_at: head.recorded_at.into(),
            }),
        })
    }
}

/// Response of a process that runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    #[schema(examples("healthy"))]
    status: &'static str,
    timestamp: Timestamp,
}

/// Response of a process that can work.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready {
    /// `ready`, or `degraded` while a read model has halted, a stream is quarantined, the readers of the log are held
    /// back, an accepted event is not accounted for, or events are set aside.
    #[schema(examples("ready"))]
    status: &'static str,
    timestamp: Timestamp,
    completeness: CompletenessView,
    /// State of each read model.
    projections: Vec<ReadModel>,
    /// Number of streams that the log has with a gap. Read models show them up to the gap;
    /// `hooksentry quarantine` lists them.
    quarantined_streams: u64,
    /// The old database transaction that delays read models and deliveries, if there is one.
    #[schema(examples("process 4711 of psql, open for 62 s"))]
    readers_held_back_by: Option<String>,
    /// Number of events that are not delivered because the dispatcher cannot read one of their facts. Usually a
    /// newer version can: upgrade all processes.
    set_aside_events: u64,
    evidence: EvidenceView,
    /// Time for which the oldest commit in progress has been running; 0 when there is none.
    oldest_commit_seconds: f64,
    /// State of the roles that one process performs at a time, as far as this process runs them.
    leads: Vec<Lead>,
    /// What is to be delivered; `null` if it cannot be counted now.
    backlog: Option<BacklogView>,
    /// Last fact of the log; `null` if there is none, or if it cannot be read now.
    log_head: Option<LogHeadView>,
}

/// What is to be delivered, of all tenants.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Backlog)]
pub(crate) struct BacklogView {
    /// Number of events that wait for an attempt. Counting ends at 10,000.
    #[schema(minimum = 0)]
    waiting: u64,
    /// Number of those of them that could be sent now.
    #[schema(minimum = 0)]
    due: u64,
    /// Time since which the oldest of these could be sent; 0 without any.
    oldest_due_seconds: f64,
    /// Number of attempts in progress, in all processes.
    #[schema(minimum = 0)]
    in_progress: u64,
    /// Whether more events wait than are counted. The other numbers are of those that are counted.
    is_lower_bound: bool,
}

/// Last fact of the log.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogHead)]
pub(crate) struct LogHeadView {
    /// Position in the log.
    position: u64,
    recorded_at: Timestamp,
}

impl From<backlog::Backlog> for BacklogView {
    fn from(backlog: backlog::Backlog) -> Self {
        Self {
            waiting: backlog.waiting,
            due: backlog.due,
            oldest_due_seconds: backlog.oldest_due.as_secs_f64(),
            in_progress: backlog.in_progress,
            is_lower_bound: backlog.is_lower_bound,
        }
    }
}

/// State of a role that one process performs at a time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lead {
    #[schema(examples("dispatcher"))]
    role: &'static str,
    /// Whether this process performs it. Otherwise it waits for the other process to end.
    leads: bool,
    /// Time since the database last confirmed that.
    confirmed_seconds_ago: f64,
}

/// Result of the check that every accepted event has ended or will be delivered.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Completeness)]
pub(crate) struct CompletenessView {
    /// Number of accepted events that have neither ended nor will be delivered, or that lists lack.
    unaccounted_events: u64,
    /// Time of the last complete check; `null` before the first one.
    checked_at: Option<Timestamp>,
}

/// State of the transparency logs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Evidence)]
pub(crate) struct EvidenceView {
    /// Approximate number of facts that are not logged yet.
    lag_facts: u64,
    /// Age of the oldest of these facts.
    lag_seconds: f64,
    /// Number of logs of tenants with entries that no signed checkpoint covers.
    unsigned_logs: u64,
    /// Time of the last signed checkpoint; `null` before the first one, which needs a key.
    last_checkpoint_at: Option<Timestamp>,
    /// Time at which the last checkpoint was signed that enough witnesses have cosigned; `null` before the first one, and if
    /// no witnesses are required.
    last_cosigned_checkpoint_at: Option<Timestamp>,
    /// Time of the last time stamp of an authority; `null` before the first one, which needs the URL of one.
    last_time_stamp_at: Option<Timestamp>,
    /// Number of signed entries of the installation's log for which too few witnesses have cosigned.
    uncosigned_entries: u64,
}

/// State of a read model.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadModel {
    name: &'static str,
    /// Whether it has halted at a fact that it cannot apply. The log has the reason.
    halted: bool,
    /// Approximate number of facts that it has not applied.
    lag_facts: u64,
    /// Age of the oldest of these facts.
    lag_seconds: f64,
}

/// Returns the routes for operators: all of a process that has no API, and those at the address for operators.
pub fn health_router(process: ProcessHealth, metrics_access: MetricsAccess) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Health::new(process, metrics_access))
        .layer(from_fn_with_state(ContextSource::default(), layers::with_context))
}

/// Check that the process responds
#[utoipa::path(get, path = "/health", tag = "Health",
    responses((status = 200, body = Alive, description = "The process responds. Nothing else is checked.")))]
pub(crate) async fn health() -> Json<Alive> {
    Json(Alive { status: "healthy", timestamp: clock::now().into() })
}

/// Check that the process is live
///
/// If this fails, restart the process.
#[utoipa::path(get, path = "/health/live", tag = "Health",
    responses((status = 200, body = Alive, description = "The process responds. Nothing else is checked.")))]
pub(crate) async fn live() -> Json<Alive> {
    health().await
}

/// Check that the process is ready
///
/// If this fails, route no requests to the process.
#[utoipa::path(get, path = "/health/ready", tag = "Health",
    responses((status = 200, body = Ready, description = "The process can work, with the state of each read model and the result of the completeness check."),
        (status = 503)))]
pub(crate) async fn ready(State(health): State<Health>) -> Result<Json<Ready>, Problem> {
    match health.readiness().await {
        Ok(ready) => Ok(Json(ready)),
        Err(reasons) => Err(Problem::new(Kind::Unavailable, format!("Not ready: {reasons}."))),
    }
}

/// Get the metrics of the process
///
/// They may require a bearer token of the operator, or be served at another address only.
#[utoipa::path(get, path = "/metrics", tag = "Health",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The metrics in the text format of Prometheus."), (status = 401), (status = 404)))]
pub(crate) async fn metrics(
    State(health): State<Health>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    match &health.metrics {
        MetricsAccess::Open => {}
        MetricsAccess::Hidden => return Err(layers::no_such_route().await),
        MetricsAccess::WithToken(token)
            if bearer_token(&headers).is_some_and(|given| token.equals(given)) => {}
        MetricsAccess::WithToken(_) => {
            return Err(unauthenticated("`Authorization` must be `Bearer` with the token of the operator."));
        }
    }
    let content_type = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([content_type], health.process.telemetry.render()))
}
