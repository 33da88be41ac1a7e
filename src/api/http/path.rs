//! Reading the parameters of paths. No resource has an id that is not a UUID, so such a path is answered with 404.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::api::http::problem::{Kind, Problem};

/// The only id in a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id<T>(pub(crate) T);

/// Segments of a path that match the names in its route, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Segments(Vec<String>);

impl<T: From<Uuid>, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Segments::from_request_parts(parts, state).await?;
        segments
            .0
            .first()
            .and_then(|segment| uuid(segment))
            .map(|id| Self(id.into()))
            .ok_or_else(no_such_path)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // The only rejection is of segments that are not UTF-8.
        let segments = RawPathParams::from_request_parts(parts, state).await.map_err(|_| no_such_path())?;
        Ok(Self(segments.iter().map(|(_, value)| value.to_owned()).collect()))
    }
}

impl Segments {
    /// Returns the segments.
    ///
    /// # Errors
    /// There are not `N` of them.
    pub(crate) fn into_array<const N: usize>(self) -> Result<[String; N], Problem> {
        self.0.try_into().map_err(|_| no_such_path())
    }
}

/// Reads a UUID in its usual form, in either case.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn no_such_path() -> Problem {
    Problem::new(Kind::NotFound, "No resource has this path: an id is not a UUID or not valid UTF-8.")
}
