//! The publisher: a task that sends jobs in rounds and waits for the broker's confirms.
//!
//! A round holds the requests that were waiting when it began, and uses a channel alone until all of it is
//! confirmed. That matters when the broker returns a message for which there is no queue: the return does not
//! identify its publish, and a confirm may cover many publishes, so a return applies to its round as a whole.
//! Several channels allow several concurrent rounds.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Event};
use metrics::counter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Connector, Link, LinkFailure, LinkRole, Pause, note_lost};
use super::topology::Topology;
use crate::queue::{Job, PublishFailure, QueueState};

/// Maximum number of jobs in a request, and approximate maximum in a round.
pub(super) const ROUND_JOBS_MAX: usize = 256;
/// Maximum number of concurrent rounds. The throughput of the broker is best with some hundreds of confirms
/// outstanding.
const ROUNDS_MAX: usize = 4;
/// Time without confirms, while the broker is not blocked, after which the publisher reconnects. Longer than
/// a leader election takes.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval at which the state of the connection is checked: it may be closed without an event, and
/// [`QueueState`] must show that when nothing is published, too.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that unconfirmed rounds get when the process stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Delivery mode of messages that are written to disk, on a majority of the queue's nodes, before they are
/// confirmed.
const PERSISTENT: u8 = 2;

type PublishResult = Result<(), PublishFailure>;
type Reply = oneshot::Sender<PublishResult>;

/// Jobs to publish. When the sender of the reply is dropped, the connection was lost.
#[derive(Debug)]
pub(super) struct PublishRequest {
    pub(super) jobs: Vec<Job>,
    pub(super) reply: Reply,
}

pub(super) struct BrokerPublisher {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    requests: mpsc::Receiver<PublishRequest>,
    state: watch::Sender<QueueState>,
    stop: CancellationToken,
}

impl BrokerPublisher {
    pub(super) fn new(
        connector: Arc<Connector>,
        topology: Arc<Topology>,
        requests: mpsc::Receiver<PublishRequest>,
        state: watch::Sender<QueueState>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector, topology, requests, state, stop }
    }

    /// Publishes over `link`, and over new connections after it is lost.
    pub(super) async fn run(mut self, mut link: Link) {
        let mut pause = Pause::default();
        let stop = self.stop.clone();
        loop {
            match self.serve(link, &mut pause).await {
                Ok(()) => break,
                Err(failure) => note_lost(LinkRole::Publisher, &failure),
            }
            self.state.send_replace(QueueState::Disconnected);
            let again = async {
                pause.wait().await;
                self.connector.open(LinkRole::Publisher, &self.topology, drop).await
            };
            link = tokio::select! {
                link = again => link,
                () = stop.cancelled() => break,
            };
        }
        self.state.send_replace(QueueState::Disconnected);
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            drop(request.reply.send(Err(PublishFailure::Stopped)));
        }
    }

    /// Publishes over one connection, until the publisher is stopped (`Ok`) or the connection is lost. In the
    /// latter case unconfirmed rounds are dropped, and with them the senders of their replies.
    async fn serve(&mut self, link: Link, pause: &mut Pause) -> Result<(), LinkFailure> {
        let mut idle = self.connector.in_time(link.address(), open_channels(&link)).await?;
        let mut rounds = FuturesUnordered::new();
        let mut events = link.events();
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blocked = false;
        self.state.send_replace(QueueState::Ready);

        loop {
            tokio::select! {
                Some(round) = rounds.next() => {
                    let round: Round = round?;
                    *pause = Pause::default();
                    idle.push(self.finish(round, &link).await?);
                }
                request = self.requests.recv(), if !blocked && !idle.is_empty() => {
                    let Some(request) = request else { break };
                    let Some(channel) = idle.pop() else { continue };
                    let requests = self.collect(request);
                    rounds.push(publish(channel, Arc::clone(&self.topology), requests, link.blocked()));
                }
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(reason, broker = link.address(), "the broker accepts no messages");
                        blocked = true;
                        self.state.send_replace(QueueState::Blocked { reason });
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(broker = link.address(), "the broker accepts messages again");
                        blocked = false;
                        self.state.send_replace(QueueState::Ready);
                    }
                    Event::Error(error) => return Err(error.into()),
                    _ => {}
                },
                _ = check.tick() => {
                    if !link.connected() {
                        return Err(closed().into());
                    }
                }
                () = self.stop.cancelled() => break,
            }
        }

        let finishing = async {
            while let Some(round) = rounds.next().await {
                self.finish(round?, &link).await?;
            }
            Ok::<(), LinkFailure>(())
        };
        match timeout(FINISH_TIMEOUT, finishing).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                let error = &failure as &dyn std::error::Error;
                tracing::warn!(error, "stopped before the broker confirmed all jobs");
            }
            Err(_) => tracing::warn!("stopped before the broker confirmed all jobs"),
        }
        link.close().await;
        Ok(())
    }

    /// Returns `first` with the requests that wait, about as many as a round holds.
    fn collect(&mut self, first: PublishRequest) -> Vec<PublishRequest> {
        let mut jobs = first.jobs.len();
        let mut requests = vec![first];
        while jobs < ROUND_JOBS_MAX {
            let Ok(request) = self.requests.try_recv() else { break };
            jobs += request.jobs.len();
            requests.push(request);
        }
        // A caller that has stopped waiting publishes its jobs again later.
        requests.retain(|request| !request.reply.is_closed());
        requests
    }

    /// Replies to the callers of a round, and returns a channel for the next round.
    ///
    /// When there was no queue for the jobs, the callers get their reply after the queue has been declared,
    /// so that they may try again at once. When jobs were refused, the channel is replaced: a channel that
    /// was opened while the queue had no leader may keep using a node that is dead, and refuse everything
    /// permanently (observed with RabbitMQ 3.10).
    async fn finish(&self, round: Round, link: &Link) -> Result<Channel, LinkFailure> {
        let declared = match round.unroutable {
            true => self.topology.declare(link).await,
            false => Ok(()),
        };
        let mut refused = false;
        for (reply, outcome) in round.answers {
            refused |= outcome.is_err();
            // The caller may have stopped waiting.
            drop(reply.send(if round.unroutable { Err(PublishFailure::Unroutable) } else { outcome }));
        }
        declared?;
        if refused {
            self.connector.in_time(link.address(), open_channel(link)).await
        } else {
            Ok(round.channel)
        }
    }
}

async fn open_channels(link: &Link) -> Result<Vec<Channel>, LinkFailure> {
    let mut channels = Vec::with_capacity(ROUNDS_MAX);
    for _ in 0..ROUNDS_MAX {
        channels.push(open_channel(link).await?);
    }
    Ok(channels)
}

async fn open_channel(link: &Link) -> Result<Channel, LinkFailure> {
    let channel = link.channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    Ok(channel)
}

fn closed() -> lapin::Error {
    lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Closed).into()
}

/// A round that the broker has confirmed or refused.
struct Round {
    channel: Channel,
    answers: Vec<(Reply, PublishResult)>,
    unroutable: bool,
}

/// Sends all jobs of `requests`, and assigns the broker's answers to them.
async fn publish(
    channel: Channel,
    topology: Arc<Topology>,
    requests: Vec<PublishRequest>,
    blocked: impl Fn() -> bool,
) -> Result<Round, LinkFailure> {
    let confirmations = {
        let jobs = requests.iter().flat_map(|request| &request.jobs);
        let mut confirming = pin!(send_and_confirm(&channel, &topology, jobs));
        loop {
            match timeout(CONFIRM_TIMEOUT, &mut confirming).await {
                Ok(confirmations) => break confirmations?,
                // The messages stay in the socket until the broker reads again, and are confirmed then.
                Err(_) if blocked() => {}
                Err(_) => return Err(LinkFailure::Unconfirmed),
            }
        }
    };

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

/// Sends all jobs before it waits for the first confirm.
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
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into());
    let sends = bounds.into_iter().map(|bounds| {
        let (exchange, key) = (topology.exchange.clone(), topology.due.clone());
        channel.basic_publish(exchange, key, options, &bytes[bounds], properties.clone())
    });
    let confirms = try_join_all(sends).await?;
    let mut confirmations = Vec::with_capacity(confirms.len());
    for confirm in confirms {
        confirmations.push(confirm.await?);
    }
    Ok(confirmations)
}
