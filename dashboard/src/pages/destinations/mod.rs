//! `/destinations`: where events are delivered.

pub(crate) mod list;
pub(crate) mod one;

use crate::session::Session;
use crate::words::{StatusWords, Tone, destination_status};

/// Ingest URL of a destination and a request to try it with. The token is shown only now.
struct NewToken {
    url: String,
    curl: String,
}

impl NewToken {
    fn of(session: &Session, token: &str) -> Self {
        let url = format!("{}/api/v1/ingest/{}/{token}", session.cookies.base(), session.claims.tenant_id);
        let curl = format!(
            "curl -i {url} \\\n  -H \"X-Api-Key: $API_KEY\" -H 'Content-Type: application/json' \\\n  -d '{{\"hello\":\"world\"}}'"
        );
        Self { url, curl }
    }
}

/// Returns the words for a status; a newer API may have statuses that have none.
fn status_words(code: &str) -> StatusWords {
    let unknown = StatusWords {
        label: "Unknown",
        meaning: "Its status is not known here.",
        next: "",
        tone: Tone::Neutral,
    };
    destination_status(code).unwrap_or(unknown)
}
