//! `GET /api/v1/audit/export`
//!
//! The answer is made while it is sent, a piece at a time, each in queries of its own. So its size is not bounded, and its
//! memory is. Nothing is held between two pieces, neither a transaction nor a place in the queries of lists.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use aggregates::access::{Access, AccessCommand, Accessed, Reader};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use projections::paging::Direction;
use projections::{LogPosition, sessions};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::csv;
use super::entry::{ActorView, EntryView, OriginView};
use super::parameters::{Search, SearchParameters};
use crate::api::access::authentication::{Caller, unauthenticated};
use crate::api::access::permissions::Permission;
use crate::api::http::problem::Problem;
use crate::api::http::query::{self, Query};
use crate::api::v1::audit::Audit;
use crate::audit_trail;
use crate::{clock, identifiers};

/// Facts in a piece.
const PIECE_FACTS: usize = 500;
/// Longest duration of an export. Its client goes on with the cursor of the last line and a valid access token.
const DURATION_MAX: Duration = Duration::from_secs(900);

const CSV_HEADER: [&str; 16] = [
    "cursor",
    "time",
    "actorKind",
    "actorId",
    "actorName",
    "type",
    "action",
    "subjectKind",
    "subjectId",
    "fact",
    "requestId",
    "traceId",
    "changes",
    "details",
    "originAddress",
    "originUserAgent",
];
/// Type in the last line of CSV.
const END: &str = "ExportEnd";

/// Format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ExportFormat {
    #[default]
    Ndjson,
    Csv,
}

/// Last line of an export.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditExportEnd)]
pub(crate) struct ExportEnd {
    end: EndView,
}

/// How an export ended.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditExportEndDetails)]
pub(crate) struct EndView {
    /// Whether it has all facts that match, as of its beginning.
    complete: bool,
    /// Number of facts in this answer.
    facts: u64,
    /// Position from which to go on, for `After`: with the rest, or later with facts that are recorded from now on.
    next: String,
}

/// An export in progress.
struct Export {
    audit: Audit,
    caller: Caller,
    search: Search,
    format: ExportFormat,
    /// Facts before this position are exported.
    until: LogPosition,
    /// Everything up to this position is exported.
    exported: Option<LogPosition>,
    facts: u64,
    facts_max: u64,
    ends_at: Instant,
    /// Text before the next piece.
    head: String,
}

/// Export the audit trail
///
/// Streams all facts that match, oldest first. With `Format=ndjson`, the default, each line is a JSON object as in the
/// list; with `csv`, it has the same fields, and a cell that a spreadsheet would take for a formula gets an apostrophe
/// before it.
///
/// The last line says whether the export is complete and where to go on: `{"end": {"complete", "facts", "next"}}`, or in
/// CSV the type `ExportEnd`. An export that was interrupted goes on with `After` and the cursor of the last line that was
/// received. An export takes fifteen minutes at most, and is recorded itself, before it begins.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "Audit",
    params(SearchParameters,
        ("Format" = Option<String>, Query, pattern = "^(ndjson|csv)$", description = "`ndjson`, the default, or `csv`."),
        ("Qt" = Option<u64>, Query, minimum = 1, description = "Maximum number of facts in this answer. Default: no maximum.")),
    responses((status = 200, description = "The facts, a line each.",
        content((EntryView = "application/x-ndjson"), (String = "text/csv"))), (status = 400)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Problem> {
    let format = query.optional("Format", format).unwrap_or_default();
    let facts_max = query.optional("Qt", query::from_one).map_or(u64::MAX, i64::cast_unsigned);
    let search = Search::read(query, Direction::Ascending, &caller, &audit.events.cursors)?;
    let mut connection = audit.events.commands.lists().connect(caller.tenant_id).await?;
    let until = audit_trail::settled(connection.connection()).await?;
    drop(connection);
    let record = AccessCommand {
        reader: Reader::User(caller.user_id),
        accessed: Accessed::AuditTrail { format: format.name().to_owned(), filter: search.described() },
        at: clock::now(),
    };
    let store = audit.events.commands.store();
    store.execute::<Access>(identifiers::new_id(), record, &caller.metadata()).await?;
    let (content_type, file) = match format {
        ExportFormat::Ndjson => ("application/x-ndjson", "audit-trail.ndjson"),
        ExportFormat::Csv => ("text/csv; charset=utf-8; header=present", "audit-trail.csv"),
    };
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\"")),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut head = String::new();
    if format == ExportFormat::Csv {
        csv::push_line(&mut head, CSV_HEADER);
    }
    let export = Export {
        exported: search.after,
        audit,
        caller,
        search,
        format,
        until,
        facts: 0,
        facts_max,
        ends_at: Instant::now() + DURATION_MAX,
        head,
    };
    Ok((headers, Body::from_stream(export.pieces())).into_response())
}

impl ExportFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

fn format(text: &str) -> Result<ExportFormat, Cow<'static, str>> {
    [ExportFormat::Ndjson, ExportFormat::Csv]
        .into_iter()
        .find(|format| format.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| "must be ndjson or csv".into())
}

impl Export {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(Some(self), |export| async {
            let mut export = export?;
            let mut piece = std::mem::take(&mut export.head);
            let goes_on = match export.next_facts(&mut piece).await {
                Ok(goes_on) => goes_on,
                Err(problem) => {
                    tracing::warn!(?problem, "an export of the audit trail was interrupted");
                    export.push_end(&mut piece, false);
                    false
                }
            };
            Some((Ok(Bytes::from(piece)), goes_on.then_some(export)))
        })
    }

    /// Adds the next facts, and the last line if there are no more. Returns whether there are more.
    async fn next_facts(&mut self, piece: &mut String) -> Result<bool, Problem> {
        self.check_session().await?;
        loop {
            if self.facts >= self.facts_max || Instant::now() >= self.ends_at {
                self.push_end(piece, false);
                return Ok(false);
            }
            let left = usize::try_from(self.facts_max - self.facts).unwrap_or(usize::MAX);
            let mut connection = self.audit.events.commands.lists().connect(self.caller.tenant_id).await?;
            let filter = &self.search.filter;
            let direction = Direction::Ascending;
            let bounds =
                audit_trail::bounds(connection.connection(), filter, direction, self.exported, self.until);
            let bounds = bounds.await?;
            let mut scope = connection.into_scope().await?;
            let found =
                audit_trail::search(&mut scope, filter, bounds, direction, left.min(PIECE_FACTS)).await?;
            let next = found.next;
            let entries = found.into_entries(&mut scope).await?;
            scope.end().await?;
            let is_empty = entries.is_empty();
            for entry in entries {
                let cursor = self.cursor(entry.position)?;
                self.push(piece, EntryView::of(entry, cursor))?;
            }
            match next {
                Some(next) => self.exported = Some(next),
                None => {
                    // Facts that do not match are not looked at again.
                    self.exported = Some(LogPosition { position: self.until.position - 1, ..self.until })
                        .max(self.exported);
                    self.push_end(piece, true);
                    return Ok(false);
                }
            }
            if !is_empty {
                return Ok(true);
            }
        }
    }

    /// Checks that the caller may still read the trail.
    async fn check_session(&self) -> Result<(), Problem> {
        let mut connection = self.audit.pool().acquire().await?;
        let user = sessions::user(&mut connection, self.caller.session_id).await?;
        let user = user.ok_or_else(|| unauthenticated("The session is closed."))?;
        if user.tenant_is_suspended {
            return Err(Problem::tenant_suspended());
        }
        Permission::ReadAuditTrail.check(user.role)
    }

    fn cursor(&self, position: LogPosition) -> Result<String, serde_json::Error> {
        self.search.cursor(&self.caller, &self.audit.events.cursors, position)
    }

    /// Adds the line of a fact.
    fn push(&mut self, piece: &mut String, entry: EntryView) -> Result<(), serde_json::Error> {
        self.facts += 1;
        match self.format {
            ExportFormat::Ndjson => {
                piece.push_str(&serde_json::to_string(&entry)?);
                piece.push('\n');
            }
            ExportFormat::Csv => push_csv(piece, &entry)?,
        }
        Ok(())
    }

    /// Adds the last line.
    fn push_end(&self, piece: &mut String, complete: bool) {
        let next = self.cursor(self.exported.unwrap_or_default()).unwrap_or_default();
        let facts = self.facts;
        match self.format {
            ExportFormat::Ndjson => {
                let end = ExportEnd { end: EndView { complete, facts, next } };
                piece.push_str(&serde_json::to_string(&end).unwrap_or_default());
                piece.push('\n');
            }
            ExportFormat::Csv => {
                let words = match complete {
                    true => format!("The export is complete: {facts} facts."),
                    false => format!("The export is not complete: {facts} facts. Go on with the cursor."),
                };
                let mut cells = [""; CSV_HEADER.len()];
                (cells[0], cells[5], cells[6]) = (&next, END, &words);
                csv::push_line(piece, cells);
            }
        }
    }
}

fn push_csv(piece: &mut String, entry: &EntryView) -> Result<(), serde_json::Error> {
    let actor = entry.actor.as_ref();
    let of_actor = |text: fn(&ActorView) -> Option<&str>| actor.and_then(text).unwrap_or_default();
    let of_origin =
        |text: fn(&OriginView) -> Option<&str>| entry.origin.as_ref().and_then(text).unwrap_or_default();
    let time = entry.time.to_string();
    let (changes, details) = (serde_json::to_string(&entry.changes)?, serde_json::to_string(&entry.details)?);
    csv::push_line(
        piece,
        [
            &entry.cursor,
            &time,
            of_actor(|actor| Some(&actor.kind)),
            of_actor(|actor| actor.id.as_deref()),
            of_actor(|actor| actor.name.as_deref()),
            &entry.fact_type,
            entry.action,
            &entry.subject.kind,
            &entry.subject.id,
            &entry.fact,
            entry.request_id.as_deref().unwrap_or_default(),
            entry.trace_id.as_deref().unwrap_or_default(),
            &changes,
            &details,
            of_origin(|origin| origin.address.as_deref()),
            of_origin(|origin| origin.user_agent.as_deref()),
        ],
    );
    Ok(())
}
