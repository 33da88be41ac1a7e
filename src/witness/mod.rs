//! Witness: cosigns the checkpoints of logs that only grow (C2SP tlog-witness v1.0.0, `add-checkpoint`).
//!
//! An auditor or a customer runs it on a machine that the operator of the log does not control. It remembers the last tree
//! head of each log that it cosigned, and cosigns the next one only if it continues that one. So an operator cannot show
//! different histories to different parties that all require the cosignature of this witness.
//!
//! The decision is in [`evidence::witness`]. The head is on the disk before the answer is sent, and requests are decided one
//! after another, so neither a crash nor two requests at once can make it cosign two histories.

mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use evidence::note::{CosignerKey, VerifierKey};
use evidence::witness::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, Refusal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock;
pub(crate) use state::WitnessState;

/// Time in which a request must arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// A witness of some logs.
#[derive(Debug)]
pub(crate) struct Witness {
    key: CosignerKey,
    /// Keys of the logs, whose names are those of the logs.
    logs: Vec<VerifierKey>,
    state: Mutex<WitnessState>,
}

/// Answer to a request that is not cosigned.
struct Refused(StatusCode, String);

impl Witness {
    pub(crate) fn new(key: CosignerKey, logs: Vec<VerifierKey>, state: WitnessState) -> Self {
        Self { key, logs, state: Mutex::new(state) }
    }

    /// Returns the API: `POST /add-checkpoint`.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(Arc::new(self))
    }

    /// Decides a request and stores the tree head. Returns the cosignature.
    fn decide(&self, request: &AddCheckpoint) -> Result<String, Refused> {
        // Held across reading, deciding and storing: the next request sees what this one has stored.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = &request.checkpoint.checkpoint().origin;
        let latest = state.latest(origin).map_err(unavailable)?;
        let now = u64::try_from(clock::now().timestamp()).unwrap_or_default();
        let cosigned = request.decide(&self.logs, latest, &self.key, now).map_err(|refusal| {
            if let Refusal::Inconsistent(_) | Refusal::OtherRoot { .. } = refusal {
                tracing::error!(%origin, %refusal, "a log has signed a history that does not continue the one that it signed before");
            }
            Refused::from(refusal)
        })?;
        if latest != Some(cosigned.tree) {
            state.store(origin, cosigned.tree).map_err(unavailable)?;
        }
        Ok(format!("{}\n", cosigned.cosignature))
    }
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Body) -> Result<String, Refused> {
    let too_large =
        || Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {ADD_CHECKPOINT_BYTES_MAX} bytes\n"));
    let late = || Refused(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n".to_owned());
    let body = timeout(BODY_TIME_MAX, to_bytes(body, ADD_CHECKPOINT_BYTES_MAX)).await.map_err(|_| late())?;
    let body = body.map_err(|_| too_large())?;
    let request = AddCheckpoint::parse(&body)
        .map_err(|problem| Refused(StatusCode::BAD_REQUEST, format!("{problem}\n")))?;
    // It waits for the disk.
    spawn_blocking(move || witness.decide(&request)).await.unwrap_or_else(|error| Err(unavailable(error)))
}

fn unavailable(error: impl std::fmt::Display) -> Refused {
    tracing::error!(%error, "the state of the witness cannot be read or written");
    Refused(StatusCode::INTERNAL_SERVER_ERROR, "the witness has a fault\n".to_owned())
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match refusal {
            Refusal::Conflict { size } | Refusal::OtherRoot { size } => Self(status, format!("{size}\n")),
            refusal => Self(status, format!("{refusal}\n")),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, text) = self;
        match status {
            StatusCode::CONFLICT => (status, [(CONTENT_TYPE, "text/x.tlog.size")], text).into_response(),
            status => (status, text).into_response(),
        }
    }
}
