//! `GET /api/v1/stream`: live stream of changes as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use aggregates::ids::SessionId;
use axum::Extension;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures::stream::{self, Stream};
use projections::{LogPosition, TransactionId, sessions};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::http::admission::KeepsNoPlace;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::time::Timestamp;
use crate::identifiers;
use crate::live::{Broadcaster, Change, StreamItem, SubscribeError, SubscriberLimit, Subscription};

/// Interval of keep-alives, which prevent proxies from closing an idle connection. A keep-alive contains the position in
/// the log, from which a client without events resumes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Interval at which the session is checked. A logout ends the stream at once.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Number of checks in a row after whose failure the stream ends. Its client reconnects and resumes.
const FAILED_CHECKS_MAX: u32 = 2;
/// Longest duration of a stream. Its client has to reconnect then, with a valid access token.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// Shortest delay of a reconnect, and a random addition, so that clients do not reconnect all at once when a process
/// restarts.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(500);
const RECONNECT_DELAY_JITTER: Duration = Duration::from_millis(2_500);
/// Time after which a client should try again if its tenant has too many streams.
const RETRY_DELAY: Duration = Duration::from_secs(10);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Makes proxies such as nginx forward each event at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Dependencies of the handler.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) pool: PgPool,
    pub(crate) live: Broadcaster,
}

/// Data of an event of the stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamedChange)]
pub(crate) struct ChangeView<'a> {
    /// Id of the changed resource.
    id: Uuid,
    /// New status of the resource; `null` if it has none or it is unchanged.
    status: Option<&'a str>,
    /// Type of the recorded fact, such as `EventAccepted`.
    fact: &'a str,
    /// Time at which the fact was recorded.
    time: Timestamp,
}

/// Stream changes as server-sent events
///
/// Events: `event.created`, `event.updated`, `destination.created`, `destination.updated`,
/// `sender.created`, `sender.updated`, `sender.deleted`, `apikey.created`, `apikey.deleted`,
/// `user.created`, `user.updated`, `user.deleted`, `tenant.updated`. The data name the changed resource;
/// a client that requests it then finds it changed. `Last-Event-ID` resumes an interrupted stream. `stream.reset`, whose
/// data are empty, means that changes were skipped: request everything again.
///
/// A comment is sent every 30 seconds. The stream ends with the session, when the tenant is suspended, and after an hour
/// at the latest.
#[utoipa::path(get, path = "/api/v1/stream", tag = "Stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that the client received.",
        example = "8123.5512")),
    responses((status = 200, body = ChangeView<'static>, content_type = "text/event-stream",
        description = "A stream of events. Each has the name of the change and these data."), (status = 400), (status = 429)))]
pub(crate) async fn handler(
    State(streams): State<Streams>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let from = last_event_id(&headers).map_err(Problem::invalid)?;
    let subscription = streams.live.subscribe(caller.tenant_id, caller.session_id, from).await?;
    let stream = OpenStream::new(streams.pool, subscription, caller.session_id);
    // Its subscription has a limit of its own.
    Ok((
        Extension(KeepsNoPlace),
        [(CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")],
        Sse::new(stream.events()),
    ))
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Full(SubscriberLimit::Tenant) => Self::too_many_requests(RETRY_DELAY),
            SubscribeError::Full(limit @ SubscriberLimit::Process) => {
                Self::overloaded(format!("Not now: {limit}. Try again later."))
            }
            SubscribeError::NotFollowing => Self::unavailable(error),
            SubscribeError::Database(error) => error.into(),
        }
    }
}

/// A stream that a client reads.
struct OpenStream {
    pool: PgPool,
    subscription: Subscription,
    session_id: SessionId,
    keep_alive: Interval,
    session_check: Interval,
    /// Number of checks of the session that have failed since the last one that did not.
    failed_checks: u32,
    ends_at: Instant,
}

impl OpenStream {
    fn new(pool: PgPool, subscription: Subscription, session_id: SessionId) -> Self {
        let every = |period| {
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self {
            pool,
            subscription,
            session_id,
            keep_alive: every(KEEP_ALIVE_INTERVAL),
            session_check: every(SESSION_CHECK_INTERVAL),
            failed_checks: 0,
            ends_at: Instant::now() + DURATION_MAX,
        }
    }

    fn events(mut self) -> impl Stream<Item = Result<Event, Infallible>> {
        // An id without data is not an event: it gives the client a position to resume from before the first one.
        let reconnect_delay =
            RECONNECT_DELAY_MIN + RECONNECT_DELAY_JITTER.mul_f64(identifiers::random_fraction());
        let first = Event::default().id(id_of(self.subscription.position())).retry(reconnect_delay);
        let rest = stream::unfold(self, |mut open| async {
            let event = open.next().await?;
            Some((Ok(event), open))
        });
        stream::StreamExt::chain(stream::once(async { Ok(first) }), rest)
    }

    /// Returns the next event. It is called only after the client has received the previous ones; the server ends the
    /// stream of a client that does not read.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.ends_at) => return None,
                _ = self.session_check.tick() => if !self.session_is_open().await { return None },
                _ = self.keep_alive.tick() => {
                    let position = self.subscription.position();
                    return Some(Event::default().comment("keep-alive").id(id_of(position)));
                }
                item = self.subscription.next() => match item {
                    Ok(Some(StreamItem::CheckSession)) => if !self.session_is_open().await { return None },
                    Ok(Some(StreamItem::Change(change))) => {
                        return Some(event_of(&change, self.subscription.position()));
                    }
                    Ok(Some(StreamItem::Reset)) => {
                        let position = self.subscription.position();
                        return Some(Event::default().id(id_of(position)).event("stream.reset").data("{}"));
                    }
                    Ok(None) => return None,
                    Err(error) => {
                        // The client reconnects and resumes.
                        tracing::debug!(%error, "a live stream was interrupted");
                        return None;
                    }
                },
            }
        }
    }

    /// Returns whether the session is open. One error of the database counts as open: it stops notifications as well.
    async fn session_is_open(&mut self) -> bool {
        let query = async {
            let mut connection = self.pool.acquire().await?;
            sessions::user(&mut connection, self.session_id).await
        };
        match query.await {
            Ok(user) => {
                self.failed_checks = 0;
                user.is_some_and(|user| user.is_current && !user.tenant_is_suspended)
            }
            Err(error) => {
                tracing::debug!(%error, "the session of a live stream cannot be checked");
                self.failed_checks += 1;
                self.failed_checks < FAILED_CHECKS_MAX
            }
        }
    }
}

fn event_of(change: &Change, position: LogPosition) -> Event {
    let Change { name, id, status, fact, at } = change;
    let data = ChangeView { id: *id, status: *status, fact, time: (*at).into() };
    let data = serde_json::to_string(&data).expect("ids, names and times can be serialized");
    Event::default().id(id_of(position)).event(name).data(data)
}

/// Returns the id of the events at a position in the log.
fn id_of(position: LogPosition) -> String {
    format!("{}.{}", position.transaction_id, position.position)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<LogPosition>, FieldErrors> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let position = value.to_str().ok().and_then(position_of).filter(|_| values.next().is_none());
    position
        .map(Some)
        .ok_or_else(|| FieldErrors::of("Last-Event-ID", "must be the id of an event of this stream"))
}

fn position_of(id: &str) -> Option<LogPosition> {
    let (transaction_id, position) = id.split_once('.')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !number(transaction_id) || !number(position) {
        return None;
    }
    Some(LogPosition {
        transaction_id: TransactionId(transaction_id.parse().ok()?),
        position: position.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<LogPosition>, FieldErrors> {
        last_event_id(&values.iter().map(|value| (LAST_EVENT_ID, value.parse().unwrap())).collect())
    }

    #[test]
    fn an_id_contains_its_position() {
        let position = LogPosition { transaction_id: TransactionId(u64::MAX), position: i64::MAX };
        assert_eq!(read(&[&id_of(position)]), Ok(Some(position)));
        let expected = LogPosition { transaction_id: TransactionId(12), position: 7 };
        assert_eq!(read(&["12.7"]), Ok(Some(expected)));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn an_id_that_was_never_sent_is_refused() {
        for values in [
            &[""][..],
            &["."],
            &["12"],
            &["12.-7"],
            &["+12.7"],
            &["12.7.1"],
            &["12.99999999999999999999"],
            &["a.b"],
            &["12.7", "12.7"],
        ] {
            assert!(read(values).is_err(), "{values:?}");
        }
    }
}
