//! Reading what a path names. A segment that should be a UUID and is not one names nothing: 404.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::api::http::problem::{Kind, Problem};

/// The one id in a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id<T>(pub(crate) T);

/// The segments of a path that stand where its route has a name, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Segments(Vec<String>);

impl<T: From<Uuid>, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Segments::from_request_parts(parts, state).await?;
        segments.0.first().and_then(|segment| uuid(segment)).map(|id| Self(id.into())).ok_or_else(nothing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // The only rejection is of segments that are not UTF-8.
        let segments = RawPathParams::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        Ok(Self(segments.iter().map(|(_, value)| value.to_owned()).collect()))
    }
}

impl Segments {
    /// The segments, if there are as many as the caller expects.
    pub(crate) fn of<const N: usize>(self) -> Result<[String; N], Problem> {
        self.0.try_into().map_err(|_| nothing())
    }
}

/// A UUID in its usual form, in either case.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn nothing() -> Problem {
    Problem::new(Kind::NotFound, "The path names nothing: an id is not a UUID, or not even text.")
}
