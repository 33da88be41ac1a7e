//! The publisher: a task that sends jobs in rounds and waits for the broker's confirms.
//!
//! A round holds what waited when it began, and has a channel to itself until all of it is confirmed. That
//! matters when the broker returns a message for which there is no queue: the return does not say which
//! publish it answers, and a confirm may cover many, so a return tells of its round as a whole and of
//! nothing else. Several channels keep several rounds on their way.

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

use super::connection::{Connector, Link, LinkFailure, Pause, Role, note_lost};
use super::topology::Topology;
use crate::queue::{Job, PublishFailure, QueueState};

/// Jobs in one request, and about as many in a round.
pub(super) const ROUND_JOBS_MAX: usize = 256;
/// Rounds on their way at once. The broker does best with some hundreds of confirms outstanding.
const ROUNDS_MAX: usize = 4;
/// How long the broker may owe confirms, if it has not said that it is blocked, before the publisher
/// connects anew. Longer than a leader election takes.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the connection is looked at while nothing is published. The broker closes connections
/// without an event, and whoever asks for the state shall hear of it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long rounds on their way may take when the program stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// The message is written to disk, on a majority of the queue's nodes, before it is confirmed.
const PERSISTENT: u8 = 2;

type Outcome = Result<(), PublishFailure>;
type Reply = oneshot::Sender<Outcome>;

/// Jobs to publish, and whom to tell. Without an answer, the connection was lost.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) jobs: Vec<Job>,
    pub(super) reply: Reply,
}

pub(super) struct Publisher {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    requests: mpsc::Receiver<Request>,
    state: watch::Sender<QueueState>,
    stop: CancellationToken,
}

impl Publisher {
    pub(super) fn new(
        connector: Arc<Connector>,
        topology: Arc<Topology>,
        requests: mpsc::Receiver<Request>,
        state: watch::Sender<QueueState>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector, topology, requests, state, stop }
    }

    /// Publishes over `link`, and over its successors.
    pub(super) async fn run(mut self, mut link: Link) {
        let mut pause = Pause::default();
        let stop = self.stop.clone();
        loop {
            match self.serve(link, &mut pause).await {
                Ok(()) => break,
                Err(failure) => note_lost(Role::Publisher, &failure),
            }
            self.state.send_replace(QueueState::Disconnected);
            let again = async {
                pause.wait().await;
                self.connector.open(Role::Publisher, &self.topology, drop).await
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

    /// Publishes over one connection, until told to stop (`Ok`) or it is lost. In the latter case the
    /// rounds on their way are dropped with their callers' replies.
    async fn serve(&mut self, link: Link, pause: &mut Pause) -> Result<(), LinkFailure> {
        let mut idle = self.connector.in_time(link.address(), open_channels(&link)).await?;
        let mut rounds = FuturesUnordered::new();
        let mut events = link.events();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                    let requests = self.gather(request);
                    rounds.push(publish(channel, Arc::clone(&self.topology), requests, link.blocked()));
                }
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(reason, broker = link.address(), "the broker takes no messages");
                        blocked = true;
                        self.state.send_replace(QueueState::Blocked { reason });
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(broker = link.address(), "the broker takes messages again");
                        blocked = false;
                        self.state.send_replace(QueueState::Ready);
                    }
                    Event::Error(error) => return Err(error.into()),
                    _ => {}
                },
                _ = look.tick() => {
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

    /// A request and what else waits, up to about a round.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut jobs = first.jobs.len();
        let mut requests = vec![first];
        while jobs < ROUND_JOBS_MAX {
            let Ok(request) = self.requests.try_recv() else { break };
            jobs += request.jobs.len();
            requests.push(request);
        }
        // Who has given up waiting has the jobs still due, and publishes them again.
        requests.retain(|request| !request.reply.is_closed());
        requests
    }

    /// Answers the callers of a round, and returns a channel for the next one.
    ///
    /// When there was no queue for the jobs, the callers hear of it after the queue has been declared, so
    /// that trying again at once makes sense. When jobs were refused, the channel is replaced: one that
    /// was opened while the queue had no leader may go on asking a node that is dead, and refuse
    /// everything for ever (seen with RabbitMQ 3.10).
    async fn finish(&self, round: Round, link: &Link) -> Result<Channel, LinkFailure> {
        let declared = match round.unroutable {
            true => self.topology.declare(link).await,
            false => Ok(()),
        };
        let mut refused = false;
        for (reply, outcome) in round.answers {
            refused |= outcome.is_err();
            // A caller that has gone away no longer needs its answer.
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

/// A round that the broker has answered.
struct Round {
    channel: Channel,
    answers: Vec<(Reply, Outcome)>,
    unroutable: bool,
}

/// Sends all jobs of `requests` and sorts out what the broker answered.
async fn publish(
    channel: Channel,
    topology: Arc<Topology>,
    requests: Vec<Request>,
    blocked: impl Fn() -> bool,
) -> Result<Round, LinkFailure> {
    let confirmations = {
        let jobs = requests.iter().flat_map(|request| &request.jobs);
        let mut confirming = pin!(send_and_confirm(&channel, &topology, jobs));
        loop {
            match timeout(CONFIRM_TIMEOUT, &mut confirming).await {
                Ok(confirmations) => break confirmations?,
                // What is sent stays in the socket until the broker reads again, and is confirmed then.
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
                    // Never on our channels, all of which confirm.
                    Confirmation::NotRequested => outcome = Err(PublishFailure::Unconfirmed),
                }
            }
            (request.reply, outcome)
        })
        .collect();
    counter!("hooksentry_queue_confirmed_total").increment(confirmed);
    Ok(Round { channel, answers, unroutable })
}

/// Puts all jobs on the wire before it waits for the first confirm.
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
        mandatory: true,  // a job without a queue comes back, and is not lost in silence
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
