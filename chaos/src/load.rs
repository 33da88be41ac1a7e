//! Steady load: webhooks of distinct content to all destinations, through all processes with the role api.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hooksentry_client::{AcceptedEvent, ApiClient, IngestTarget, http_client};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::history::{Answer, AnswerResult, Behaviour, Sent};
use crate::recorder::Recorder;

/// Timeout of one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of requests with the same idempotency key if none is answered with 202.
const TRIES_MAX: usize = 4;
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Upper bound of webhooks that are being sent. Above it the schedule pauses.
const IN_FLIGHT_MAX: usize = 512;

/// The load of a run.
pub(crate) struct Load {
    pub(crate) seed: u64,
    pub(crate) per_second: f64,
    /// URLs of the processes with the role api.
    pub(crate) apis: Vec<String>,
    /// By destination.
    pub(crate) targets: Vec<IngestTarget>,
    pub(crate) behaviours: Vec<Behaviour>,
    pub(crate) recorder: Arc<Recorder>,
}

/// One webhook to send. It follows from the seed and its number.
struct Webhook {
    destination: usize,
    idempotency_key: Option<String>,
    payload: Bytes,
    /// Index of the process that gets it first.
    api: usize,
    /// Whether two requests are sent at the same time, as by a client that does not wait for an answer.
    twice: bool,
}

impl Load {
    /// Sends webhooks at a steady rate until `stop` is cancelled, and waits for all answers.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let http = http_client().timeout(ANSWER_TIMEOUT).build()?;
        let apis: Vec<ApiClient> = self.apis.iter().map(|base| ApiClient::new(http.clone(), base)).collect();
        let (shared, apis) = (Arc::new(self), Arc::new(apis));
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut sending = JoinSet::new();
        let mut due = Instant::now();
        for number in 0_u64.. {
            due += Duration::from_secs_f64(1.0 / shared.per_second);
            let next = async {
                sleep_until(due).await;
                Arc::clone(&permits).acquire_owned().await
            };
            let Some(Ok(permit)) = stop.run_until_cancelled(next).await else { break };
            // A schedule that fell behind does not send a burst.
            due = due.max(Instant::now() - Duration::from_secs(1));
            let (shared, apis) = (Arc::clone(&shared), Arc::clone(&apis));
            sending.spawn(async move {
                let sent = shared.send(&apis, shared.webhook(number)).await;
                shared.recorder.record_sent(sent);
                drop(permit);
            });
            while sending.try_join_next().is_some() {}
        }
        while sending.join_next().await.is_some() {}
        Ok(())
    }

    fn webhook(&self, number: u64) -> Webhook {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let behaviour = match random.random_range(0..100) {
            0..70 => Behaviour::Healthy,
            70..80 => Behaviour::Slow,
            80..92 => Behaviour::Failing,
            92..97 => Behaviour::Hanging,
            _ => Behaviour::Dead,
        };
        let fitting = || (0..self.behaviours.len()).filter(|index| self.behaviours[*index] == behaviour);
        let chosen = random.random_range(0..fitting().count().max(1));
        let bytes = match random.random_range(0..100) {
            0..90 => random.random_range(50..2_000),
            90..99 => random.random_range(2_000..20_000),
            _ => random.random_range(100_000..300_000),
        };
        let idempotent = random.random_bool(0.4);
        Webhook {
            destination: fitting().nth(chosen).unwrap_or_default(),
            idempotency_key: idempotent.then(|| format!("chaos-{}-{number}", self.seed)),
            payload: payload(&mut random, number, bytes),
            api: random.random_range(0..self.apis.len()),
            twice: idempotent && random.random_bool(0.1),
        }
    }

    async fn send(&self, apis: &[ApiClient], webhook: Webhook) -> Sent {
        let mut answers = Vec::new();
        let tries = if webhook.idempotency_key.is_some() { TRIES_MAX } else { 1 };
        for number in 0..tries {
            let api = &apis[(webhook.api + number) % apis.len()];
            if webhook.twice && number == 0 {
                let other = &apis[(webhook.api + 1) % apis.len()];
                let (first, second) =
                    tokio::join!(self.request(api, &webhook), self.request(other, &webhook));
                answers.extend([first, second]);
            } else {
                answers.push(self.request(api, &webhook).await);
            }
            if answers.iter().any(|answer| is_definite(answer.result)) {
                break;
            }
            sleep(RETRY_DELAY).await;
        }
        let Webhook { destination, idempotency_key, payload, .. } = webhook;
        Sent { destination, idempotency_key, payload, answers }
    }

    async fn request(&self, api: &ApiClient, webhook: &Webhook) -> Answer {
        let began = self.recorder.clock.now();
        let mut request = api.ingest_request(&self.targets[webhook.destination], webhook.payload.clone());
        if let Some(key) = &webhook.idempotency_key {
            request = request.header("X-Idempotency-Key", key);
        }
        let result = match api.send(request).await {
            // 200: a request with the same idempotency key was accepted before.
            Ok(answer) if [StatusCode::ACCEPTED, StatusCode::OK].contains(&answer.status) => {
                let accepted = serde_json::from_value::<AcceptedEvent>(answer.body);
                accepted.map_or(AnswerResult::Missing, |accepted| AnswerResult::Accepted(accepted.event_id))
            }
            Ok(answer) => AnswerResult::Refused(answer.status.as_u16()),
            Err(_) => AnswerResult::Missing,
        };
        Answer { began, ended: self.recorder.clock.now(), result }
    }
}

/// Whether another request with the same idempotency key would not change the answer.
fn is_definite(result: AnswerResult) -> bool {
    match result {
        AnswerResult::Accepted(_) => true,
        AnswerResult::Refused(status) => status < 500 && status != 429,
        AnswerResult::Missing => false,
    }
}

/// Returns a JSON object that contains the number, and so is different from all others.
fn payload(random: &mut StdRng, number: u64, bytes: usize) -> Bytes {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = std::iter::repeat_with(|| char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    let text: String = letters.take(bytes).collect();
    Bytes::from(format!("{{\"number\":{number},\"text\":\"{text}\"}}"))
}
