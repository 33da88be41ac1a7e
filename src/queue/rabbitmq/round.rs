//! A round of publishes: jobs that are sent over one channel together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};
use metrics::counter;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection::LinkFailure;
use super::topology::Topology;
use crate::queue::{Job, PublishFailure};

/// Time after which the publisher reconnects if the broker, which is not blocked, has not confirmed a round, or not
/// read it. Longer than a leader election takes.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) type PublishResult = Result<(), PublishFailure>;
type Reply = oneshot::Sender<PublishResult>;

/// Jobs to publish. When the sender of the reply is dropped, the connection was lost.
#[derive(Debug)]
pub(super) struct PublishRequest {
    pub(super) jobs: Vec<Job>,
    pub(super) reply: Reply,
}

/// A round that is sent, and that the broker has confirmed or refused if its queue has confirms.
pub(super) struct Round {
    pub(super) channel: Channel,
    pub(super) answers: Vec<(Reply, PublishResult)>,
    /// Whether the broker had no queue for some jobs: those of this round, or without confirms also of earlier ones.
    pub(super) unroutable: bool,
}

/// Sends all jobs of `requests`, and assigns the broker's answers to them.
pub(super) async fn publish(
    channel: Channel,
    topology: Arc<Topology>,
    requests: Vec<PublishRequest>,
    blocked: impl Fn() -> bool,
) -> Result<Round, LinkFailure> {
    let confirmations = {
        let jobs = requests.iter().flat_map(|request| &request.jobs);
        let publishing = send_and_confirm(&channel, &topology, jobs);
        answered(CONFIRM_TIMEOUT, blocked, publishing).await.ok_or(LinkFailure::Unconfirmed)??
    };
    if !topology.queue_type.confirms() {
        let unroutable = has_returned(&channel).await?;
        let answers = requests.into_iter().map(|request| (request.reply, Ok(()))).collect();
        return Ok(Round { channel, answers, unroutable });
    }

    let mut confirmed = 0;
    let mut unroutable = false;
    let mut confirmations = confirmations.into_iter();
    let answers = requests
        .into_iter()
        .map(|request| {
            let mut outcome = Ok(());
            for confirmation in confirmations.by_ref().take(request.jobs.len()) {
                match confirmation {
                    Confirmation::Ack(None) => confirmed += 1,
                    Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => unroutable = true,
                    Confirmation::Nack(None) => outcome = Err(PublishFailure::Refused),
                    // Impossible: confirms are enabled on every channel of the publisher.
                    Confirmation::NotRequested => outcome = Err(PublishFailure::Unconfirmed),
                }
            }
            (request.reply, outcome)
        })
        .collect();
    counter!("hooksentry_queue_confirmed_total").increment(confirmed);
    Ok(Round { channel, answers, unroutable })
}

/// Returns the answer of the broker; `None` after `within`, if the broker reads from the connection then. While it is
/// blocked, what was sent stays in the socket.
pub(super) async fn answered<T>(
    within: Duration,
    blocked: impl Fn() -> bool,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        match timeout(within, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if blocked() => {}
            Err(_) => return None,
        }
    }
}

/// Returns whether the broker has returned messages on a channel without confirms since the last call.
pub(super) async fn has_returned(channel: &Channel) -> Result<bool, lapin::Error> {
    // Without confirms it waits for none.
    Ok(!channel.wait_for_confirms().await?.is_empty())
}

/// Sends all jobs before it waits for the first confirm. Returns no confirms if the queue has none; the jobs are in
/// the socket then.
async fn send_and_confirm(
    channel: &Channel,
    topology: &Topology,
    jobs: impl Iterator<Item = &Job>,
) -> Result<Vec<Confirmation>, lapin::Error> {
    let mut bytes = Vec::new();
    let bounds: Vec<_> = jobs
        .map(|job| {
            let start = bytes.len();
            job.write_to(&mut bytes);
            start..bytes.len()
        })
        .collect();
    counter!("hooksentry_queue_published_total").increment(bounds.len() as u64);

    let options = BasicPublishOptions {
        mandatory: true,  // a job without a queue is returned and not dropped
        immediate: false, // not supported by the broker
    };
    let properties = BasicProperties::default()
        .with_delivery_mode(topology.queue_type.delivery_mode())
        .with_content_type("application/json".into());
    let sends = bounds.into_iter().map(|bounds| {
        let (exchange, key) = (topology.exchange.clone(), topology.due.clone());
        channel.basic_publish(exchange, key, options, &bytes[bounds], properties.clone())
    });
    let confirms = try_join_all(sends).await?;
    if !topology.queue_type.confirms() {
        return Ok(Vec::new());
    }
    let mut confirmations = Vec::with_capacity(confirms.len());
    for confirm in confirms {
        confirmations.push(confirm.await?);
    }
    Ok(confirmations)
}
