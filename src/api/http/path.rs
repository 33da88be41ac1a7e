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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode, Uri};
    use axum::routing::get;
    use proptest::{prop_assert_eq, proptest};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(uri: Uri) -> StatusCode {
        let show = async |segments: Segments| {
            segments.into_array::<2>().map(|[tenant, _]| uuid(&tenant).is_some().to_string())
        };
        let router = Router::new().route("/ingest/{tenantId}/{token}", get(show));
        router.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap().status()
    }

    proptest! {
        /// Every path that is a URI is answered, with two segments or with 404. The router finds a path whose first segment
        /// is empty, and none whose last one is.
        #[test]
        fn foreign_bytes_in_a_path(segments in proptest::collection::vec("(%[0-9a-fA-F]{2}|%|[0-9a-f-]|[!-~]){0,40}", 0..4)) {
            let Ok(uri) = format!("/ingest/{}", segments.join("/")).parse::<Uri>() else { return Ok(()) };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let status = runtime.block_on(status(uri.clone()));
            let [tenant, token] = uri.path().strip_prefix("/ingest/").unwrap_or_default().split('/').collect::<Vec<_>>()[..] else {
                prop_assert_eq!(status, StatusCode::NOT_FOUND);
                return Ok(());
            };
            let is_text = |segment: &str| percent_encoding::percent_decode_str(segment).decode_utf8().is_ok();
            let is_found = !token.is_empty() && is_text(tenant) && is_text(token);
            prop_assert_eq!(status, if is_found { StatusCode::OK } else { StatusCode::NOT_FOUND });
        }
    }
}
