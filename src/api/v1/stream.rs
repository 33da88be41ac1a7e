//! The live stream: server-sent events for the caller's tenant.

use std::convert::Infallible;
use std::time::Duration;

use aggregates::ids::SessionId;
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
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::time::Timestamp;
use crate::identifiers;
use crate::live::{Broadcaster, Change, Full, StreamItem, SubscribeError, Subscription};

/// How often something is sent although nothing happens, so that nobody in between takes the connection
/// for dead. It carries the place in the log, so that a quiet stream resumes from there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
/// How often it is asked whether the caller may still listen. A logout ends the stream at once.
const SESSION_CHECK_EVERY: Duration = Duration::from_secs(15);
/// How long a stream lasts before its client has to come back, with an access token that is good then.
const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// After how long clients come back, at least and at most: not all at once when a node restarts.
const COME_BACK_MIN: Duration = Duration::from_millis(500);
const COME_BACK_SPREAD: Duration = Duration::from_millis(2_500);
/// When to try again to open a stream beside so many others.
const ROOM_AFTER: Duration = Duration::from_secs(10);

/// Names the last event that a client has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells proxies such as nginx to pass each event on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What streams need.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) pool: PgPool,
    pub(crate) live: Broadcaster,
}

/// The data of an event of the stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamedChange)]
pub(crate) struct ChangeView<'a> {
    /// Id of what changed.
    id: Uuid,
    /// Its status since then; `null` when it has none, or the same as before.
    status: Option<&'a str>,
    /// The fact, such as `EventAccepted`.
    fact: &'a str,
    /// When it was recorded.
    time: Timestamp,
}

/// Hear what changes, as it changes.
///
/// Server-sent events: `event.created`, `event.updated`, `destination.created`, `destination.updated`,
/// `sender.created`, `sender.updated`, `sender.deleted`, `apikey.created`, `apikey.deleted`,
/// `user.created`, `user.updated`, `user.deleted`, `tenant.updated`. The data say which thing changed and
/// how; whoever asks for it afterwards finds it changed. `Last-Event-ID` resumes where a stream was broken
/// off. `stream.reset`, without such data, says that too much has happened to be told: look at everything
/// anew.
///
/// A comment is sent every 30 seconds. The stream ends with the session and after an hour at the latest.
#[utoipa::path(get, path = "/api/v1/stream", tag = "Stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen.",
        example = "8123.5512")),
    responses((status = 200, body = ChangeView<'static>, content_type = "text/event-stream"), (status = 400), (status = 429)))]
pub(crate) async fn open(
    State(streams): State<Streams>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let from = last_event_id(&headers).map_err(Problem::invalid)?;
    let subscription = streams.live.listen(caller.tenant_id, caller.session_id, from).await?;
    let stream = Open::new(streams.pool, subscription, caller.session_id);
    Ok(([(CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")], Sse::new(stream.events())))
}

impl From<SubscribeError> for Problem {
    fn from(deaf: SubscribeError) -> Self {
        match deaf {
            SubscribeError::Full(Full::Tenant) => Self::too_many_requests(ROOM_AFTER),
            SubscribeError::Full(Full::Process) => Self::busy(),
            SubscribeError::NotFollowing => Self::unavailable(deaf),
            SubscribeError::Database(error) => error.into(),
        }
    }
}

/// A stream that somebody reads.
struct Open {
    pool: PgPool,
    subscription: Subscription,
    session_id: SessionId,
    keep_alive: Interval,
    session_check: Interval,
    ends_at: Instant,
}

impl Open {
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
            keep_alive: every(KEEP_ALIVE_EVERY),
            session_check: every(SESSION_CHECK_EVERY),
            ends_at: Instant::now() + LIFE_MAX,
        }
    }

    fn events(mut self) -> impl Stream<Item = Result<Event, Infallible>> {
        // An id without data reaches the client and nobody else: it has a place to come back to before
        // anything has happened.
        let come_back = COME_BACK_MIN + COME_BACK_SPREAD.mul_f64(identifiers::random_fraction());
        let first = Event::default().id(id_of(self.subscription.place())).retry(come_back);
        let rest = stream::unfold(self, |mut open| async {
            let event = open.next().await?;
            Some((Ok(event), open))
        });
        stream::StreamExt::chain(stream::once(async { Ok(first) }), rest)
    }

    /// The next event. It is asked for only when the client has taken the ones before.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.ends_at) => return None,
                _ = self.session_check.tick() => if !self.may_stay().await { return None },
                _ = self.keep_alive.tick() => {
                    let place = self.subscription.place();
                    return Some(Event::default().comment("keep-alive").id(id_of(place)));
                }
                heard = self.subscription.next() => match heard {
                    Ok(Some(heard)) => return Some(event_of(&heard, self.subscription.place())),
                    Ok(None) => return None,
                    Err(error) => {
                        // The client comes back and goes on where it was.
                        tracing::debug!(%error, "a stream is broken off");
                        return None;
                    }
                },
            }
        }
    }

    /// Whether the session is still good. While the database does not answer, nothing is heard either.
    async fn may_stay(&self) -> bool {
        let ask = async {
            let mut connection = self.pool.acquire().await?;
            sessions::caller(&mut connection, self.session_id).await
        };
        match ask.await {
            Ok(caller) => caller.is_some(),
            Err(error) => {
                tracing::debug!(%error, "a stream's session cannot be looked at now");
                true
            }
        }
    }
}

fn event_of(heard: &StreamItem, place: LogPosition) -> Event {
    let event = Event::default().id(id_of(place));
    match heard {
        StreamItem::Change(change) => {
            let Change { name, id, status, fact, at } = change;
            let data = ChangeView { id: *id, status: *status, fact, time: (*at).into() };
            let data =
                serde_json::to_string(&data).expect("ids, names and times can always be written as JSON");
            event.event(name).data(data)
        }
        StreamItem::PassedOver => event.event("stream.reset").data("{}"),
    }
}

/// A place in the log, as clients keep it.
fn id_of(place: LogPosition) -> String {
    format!("{}.{}", place.transaction_id, place.position)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<LogPosition>, FieldErrors> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let place = value.to_str().ok().and_then(place_of).filter(|_| values.next().is_none());
    place.map(Some).ok_or_else(|| FieldErrors::of("Last-Event-ID", "must be an id that this stream has sent"))
}

fn place_of(id: &str) -> Option<LogPosition> {
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

    fn asked(values: &[&str]) -> Result<Option<LogPosition>, FieldErrors> {
        last_event_id(&values.iter().map(|value| (LAST_EVENT_ID, value.parse().unwrap())).collect())
    }

    #[test]
    fn an_id_leads_back_to_its_place() {
        let place = LogPosition { transaction_id: TransactionId(u64::MAX), position: i64::MAX };
        assert_eq!(asked(&[&id_of(place)]), Ok(Some(place)));
        assert_eq!(
            asked(&["12.7"]),
            Ok(Some(LogPosition { transaction_id: TransactionId(12), position: 7 }))
        );
        assert_eq!(asked(&[]), Ok(None));
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
            assert!(asked(values).is_err(), "{values:?}");
        }
    }
}
