//! `/destinations`: where events are delivered.

pub(crate) mod list;
pub(crate) mod one;

use crate::pages::{ingest_curl, ingest_url};
use crate::session::Session;
/// Ingest URL of a destination and a request to try it with. The token is shown only now.
struct NewToken {
    url: String,
    curl: String,
}

impl NewToken {
    fn of(session: &Session, token: &str) -> Self {
        let url = ingest_url(session, token);
        let curl = ingest_curl(&url);
        Self { url, curl }
    }
}
