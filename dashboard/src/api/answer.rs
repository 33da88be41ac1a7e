//! Answers of the API in memory.
//!
//! A page of events has their payloads, so answers may be large. All of them together are limited; each is dropped as
//! soon as a page has what it shows.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{ApiError, Problem};

/// Bytes of all answers in memory, and of a single one.
const BYTES_MAX: usize = 128 << 20;
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Bytes that one permit is worth.
const PERMIT_BYTES: usize = 1 << 10;

/// Memory of all answers.
#[derive(Clone, Debug)]
pub(super) struct AnswerMemory(Arc<Semaphore>);

/// Bytes of an answer, which count until they are dropped.
#[derive(Debug)]
pub(super) struct AnswerBytes {
    pub(super) bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AnswerMemory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES)))
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// It is too large, breaks off, or there is no memory for it now.
    pub(super) async fn read(&self, mut body: Body) -> Result<AnswerBytes, ApiError> {
        let mut answer = AnswerBytes { bytes: vec![], _permit: None };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(ApiError::unreadable)?.into_data() else { continue };
            if answer.bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(refusal(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body-too-large",
                    "The payloads on this page are too large together. Narrow the time range or the filter.",
                ));
            }
            let permits = u32::try_from(data.len().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(permits) else {
                return Err(refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "Too many large pages are open at this moment.",
                ));
            };
            match &mut answer._permit {
                Some(held) => held.merge(permit),
                held => *held = Some(permit),
            }
            answer.bytes.extend_from_slice(&data);
        }
        Ok(answer)
    }
}

fn refusal(status: StatusCode, kind: &str, detail: &str) -> ApiError {
    let title = "The page cannot be shown";
    let (kind, title, detail) = (kind.to_owned(), title.to_owned(), detail.to_owned());
    ApiError::Problem(Problem { status, kind, title, detail, ..Problem::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_answers_are_refused_and_their_memory_is_free_again() {
        let memory = AnswerMemory::new();
        let body = |mebibytes: usize| Body::from(vec![0; mebibytes << 20]);
        for _ in 0..10 {
            assert_eq!(memory.read(body(32)).await.unwrap().bytes.len(), 32 << 20);
        }
        assert!(memory.read(body(33)).await.unwrap_err().is("body-too-large"));
        let mut held = vec![];
        for _ in 0..4 {
            held.push(memory.read(body(32)).await.unwrap());
        }
        assert!(memory.read(body(1)).await.unwrap_err().is("unavailable"));
        held.pop();
        assert!(memory.read(body(1)).await.is_ok());
    }
}
