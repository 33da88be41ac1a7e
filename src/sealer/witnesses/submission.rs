//! One checkpoint, submitted to one witness.

use evidence::note::VerifierKey;
use evidence::witness::{Accepted, AddCheckpoint, AnswerError, parse_size};
use projections::checkpoints::CheckpointFailure;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use thiserror::Error;

use super::Witness;
use crate::evidence_log::ReadFailure;
use crate::sealer::outbound::{Answer, Outbound, RequestFailure};

/// Reason why a witness has not cosigned, or why its cosignature is not stored.
#[derive(Debug, Error)]
pub(super) enum SubmissionFailure {
    #[error(transparent)]
    Request(#[from] RequestFailure),
    #[error("it refused with status {0}")]
    Refused(StatusCode),
    #[error("its answer has no cosignature: {0}")]
    Answer(#[from] AnswerError),
    #[error("its answer with status 409 has no size")]
    NoSize,
    #[error("the time of its cosignature, {0}, is not in any year")]
    Time(u64),
    /// Another leader has submitted a later checkpoint meanwhile.
    #[error("it has cosigned a later checkpoint of {0} entries")]
    Overtaken(u64),
    /// See [`Fork`].
    #[error(transparent)]
    Fork(#[from] Fork),
    /// Of this installation.
    #[error("the checkpoint cannot be read or the cosignature stored")]
    Store(#[from] StoreFailure),
}

/// Proof of a witness that it has seen another history of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Fork {
    #[error("it has cosigned {cosigned} entries, and the database has signed {signed}")]
    Longer { cosigned: u64, signed: u64 },
    #[error("it has cosigned another root of {0} entries")]
    OtherRoot(u64),
}

/// Failure of the database of this installation.
#[derive(Debug, Error)]
pub(super) enum StoreFailure {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Read(#[from] ReadFailure),
    #[error("another process has the lead")]
    Lead(#[from] CheckpointFailure),
    #[error("the stored checkpoint of {0} entries is damaged")]
    Damaged(u64),
}

impl From<sqlx::Error> for SubmissionFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl SubmissionFailure {
    /// Label of the metric.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Request(RequestFailure::Late(_) | RequestFailure::Unreachable(_)) => "unreachable",
            Self::Refused(_) | Self::Overtaken(_) => "refused",
            Self::Request(RequestFailure::TooLong) | Self::Answer(_) | Self::NoSize | Self::Time(_) => {
                "invalid"
            }
            Self::Fork(_) => "fork",
            Self::Store(_) => "failed",
        }
    }
}

/// What a witness answered.
pub(super) enum Outcome {
    Cosigned(Accepted),
    /// It has cosigned this many entries last, which are not those that the request named.
    Conflict(u64),
}

/// Sends a request to a witness.
pub(super) async fn send(
    outbound: &Outbound,
    witness: &Witness,
    request: &AddCheckpoint,
) -> Result<Outcome, SubmissionFailure> {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    let answer = outbound.post(&witness.url, content_type, request.to_string().into_bytes()).await?;
    read(&answer, request, &witness.key)
}

fn read(answer: &Answer, request: &AddCheckpoint, key: &VerifierKey) -> Result<Outcome, SubmissionFailure> {
    let (old, size) = (request.old_size, request.checkpoint.checkpoint().tree.size);
    match answer.status {
        StatusCode::OK => Ok(Outcome::Cosigned(request.accept(&answer.body, key)?)),
        StatusCode::CONFLICT => match parse_size(&answer.body) {
            // It is not the size that differs.
            Some(cosigned) if cosigned == old => Err(Fork::OtherRoot(old).into()),
            Some(cosigned) => Ok(Outcome::Conflict(cosigned)),
            // The standard requires a body only if the old size differs.
            None if old == size => Err(Fork::OtherRoot(old).into()),
            None => Err(SubmissionFailure::NoSize),
        },
        // The proof is one of our tree, so the witness has another root of the old size.
        StatusCode::UNPROCESSABLE_ENTITY if old > 0 => Err(Fork::OtherRoot(old).into()),
        status => Err(SubmissionFailure::Refused(status)),
    }
}

#[cfg(test)]
mod tests {
    use evidence::checkpoint::Checkpoint;
    use evidence::note::{CosignerKey, SignerKey};
    use evidence::tree::{Hash, TreeHead};

    use super::*;

    fn answered(old_size: u64, status: u16, body: &str) -> Result<Outcome, SubmissionFailure> {
        let name = "log.example";
        let tree = TreeHead { size: 7, root: Hash::of_leaf(b"a leaf") };
        let checkpoint = Checkpoint { origin: name.parse().unwrap(), tree };
        let checkpoint = checkpoint.sign(&SignerKey::from_seed(name.parse().unwrap(), &[1; 32]));
        let request = AddCheckpoint { old_size, proof: vec![], checkpoint };
        let key = CosignerKey::from_seed("witness.example".parse().unwrap(), &[2; 32]);
        let status = StatusCode::from_u16(status).unwrap();
        let body = match body {
            "a cosignature" => format!("{}\n", key.cosign(request.checkpoint.checkpoint(), 5)),
            body => body.to_owned(),
        };
        read(&Answer { status, body: body.into_bytes() }, &request, key.verifier())
    }

    #[test]
    fn answers_are_read_as_the_standard_says() {
        let cosigned = answered(3, 200, "a cosignature");
        assert!(matches!(cosigned, Ok(Outcome::Cosigned(Accepted { timestamp: 5, .. }))));
        assert!(matches!(answered(3, 409, "5\n"), Ok(Outcome::Conflict(5))));
        assert!(matches!(answered(0, 409, "5\n"), Ok(Outcome::Conflict(5))));
        assert!(matches!(answered(3, 409, "0\n"), Ok(Outcome::Conflict(0))));
        assert!(matches!(answered(3, 409, "8\n"), Ok(Outcome::Conflict(8))));
    }

    #[test]
    fn another_history_is_a_fork_and_everything_else_is_not() {
        let failure = |old, status, body| answered(old, status, body).err().expect("a failure");
        for (old, status, body) in [(3, 409, "3\n"), (7, 409, "7\n"), (7, 409, ""), (3, 422, "")] {
            let failure = failure(old, status, body);
            assert!(matches!(failure, SubmissionFailure::Fork(Fork::OtherRoot(_))), "{status} {body:?}");
            assert_eq!(failure.result(), "fork");
        }
        for (old, status, body, result) in [
            // No entries are the same ones in every history.
            (0, 422, "", "refused"),
            (3, 409, "", "invalid"),
            (3, 409, "a proxy says no", "invalid"),
            (3, 200, "", "invalid"),
            (3, 200, "5\n", "invalid"),
            (3, 307, "a cosignature", "refused"),
            (3, 202, "a cosignature", "refused"),
            (3, 400, "", "refused"),
            (3, 403, "", "refused"),
            (3, 404, "", "refused"),
            (3, 500, "a cosignature", "refused"),
        ] {
            assert_eq!(failure(old, status, body).result(), result, "{status} {body:?}");
        }
    }
}
