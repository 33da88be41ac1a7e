//! The publisher: a task that sends jobs in rounds and, if the queue has confirms, waits for them.
//!
//! A round holds the requests that were waiting when it began, and uses a channel alone until all of it is
//! confirmed or, without confirms, in the socket. That matters when the broker returns a message for which there is
//! no queue: the return does not identify its publish, and a confirm may cover many publishes, so a return applies to
//! its round as a whole. Several channels allow several concurrent rounds.
//!
//! It announces when the broker may have lost jobs: after its own connection was lost, when the queue of jobs was
//! missing, and when messages were returned. Without confirms it asks every second whether the queue is there.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Event};
use metrics::counter;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Connector, Link, LinkFailure, LinkRole, Pause, note_lost};
use super::round::{PublishRequest, Round, answered, has_returned, publish};
use super::topology::Topology;
use crate::queue::{PublishFailure, QueueState};

/// Maximum number of jobs in a request, and approximate maximum in a round.
pub(super) const ROUND_JOBS_MAX: usize = 256;
/// Maximum number of concurrent rounds. The throughput of the broker is best with some hundreds of confirms
/// outstanding.
const ROUNDS_MAX: usize = 4;
/// Interval at which the state of the connection is checked: it may be closed without an event, and
/// [`QueueState`] must show that when nothing is published, too. Without confirms, also the interval at which the queue
/// is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that unconfirmed rounds get when the process stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Deadline for the answer whether the queue is there. Lower: a busy broker loses its publishers. Higher: jobs are sent
/// into a dead connection for longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct BrokerPublisher {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    requests: mpsc::Receiver<PublishRequest>,
    state: watch::Sender<QueueState>,
    /// How often jobs may have been lost.
    losses: watch::Sender<u64>,
    stop: CancellationToken,
}

impl BrokerPublisher {
    pub(super) fn new(
        connector: Arc<Connector>,
        topology: Arc<Topology>,
        requests: mpsc::Receiver<PublishRequest>,
        state: watch::Sender<QueueState>,
        losses: watch::Sender<u64>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector, topology, requests, state, losses, stop }
    }

    /// Publishes over `link`, and over new connections after it is lost.
    pub(super) async fn run(mut self, mut link: Link) {
        let mut pause = Pause::default();
        let stop = self.stop.clone();
        let mut reconnected = false;
        loop {
            match self.serve(link, reconnected, &mut pause).await {
                Ok(()) => break,
                Err(failure) => note_lost(LinkRole::Publisher, &failure),
            }
            reconnected = true;
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
    async fn serve(&mut self, link: Link, reconnected: bool, pause: &mut Pause) -> Result<(), LinkFailure> {
        let topology = Arc::clone(&self.topology);
        let subscribing = async { Ok(topology.subscribe_to_losses(&link).await?) };
        let mut queue_lost = self.connector.in_time(link.address(), subscribing).await?;
        let mut idle = self.connector.in_time(link.address(), open_channels(&link, &topology)).await?;
        let mut rounds = FuturesUnordered::new();
        let mut events = link.events();
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blocked = false;
        self.state.send_replace(QueueState::Ready);
        if reconnected {
            self.announce_loss("the connection to the broker was lost");
        }

        {
            let mut watching = pin!(watch(&topology, &link));
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
                        rounds.push(publish(channel, Arc::clone(&topology), requests, link.blocked()));
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
                    message = queue_lost.next() => {
                        message.ok_or(LinkFailure::ConsumerEnded)??;
                        self.announce_loss("the queue of jobs was missing");
                    }
                    failure = &mut watching => return Err(failure),
                    _ = check.tick() => {
                        if !link.connected() {
                            return Err(closed().into());
                        }
                        self.find_returned(&idle, &link).await?;
                    }
                    () = self.stop.cancelled() => break,
                }
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
            true => self.recover_returned(link).await,
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
            self.connector.in_time(link.address(), open_channel(link, &self.topology)).await
        } else {
            Ok(round.channel)
        }
    }

    /// Looks for messages that the broker returned after their round had ended, because there are no confirms.
    async fn find_returned(&self, idle: &[Channel], link: &Link) -> Result<(), LinkFailure> {
        if self.topology.queue_type.confirms() {
            return Ok(());
        }
        for channel in idle {
            if has_returned(channel).await? {
                self.recover_returned(link).await?;
            }
        }
        Ok(())
    }

    /// Declares what jobs did not find.
    async fn recover_returned(&self, link: &Link) -> Result<(), LinkFailure> {
        let declared = self.topology.declare(link).await;
        self.announce_loss("the broker returned jobs");
        Ok(declared?)
    }

    fn announce_loss(&self, reason: &str) {
        tracing::warn!(reason, "the broker may have lost jobs");
        counter!("hooksentry_queue_losses_total").increment(1);
        self.losses.send_modify(|losses| *losses += 1);
    }
}

/// Declares the queue of jobs when it is missing, and ends when the broker does not answer. With confirms, they show
/// both.
async fn watch(topology: &Topology, link: &Link) -> LinkFailure {
    if topology.queue_type.confirms() {
        return pending().await;
    }
    let watching = async {
        loop {
            let channel = answer(link, async { Ok(link.channel().await?) }).await?;
            while answer(link, async { Ok(topology.has_jobs_queue(&channel).await?) }).await? {
                sleep(CHECK_INTERVAL).await;
            }
            answer(link, async { Ok(topology.declare(link).await?) }).await?;
        }
    };
    let Err(failure): Result<Infallible, _> = watching.await;
    failure
}

/// Waits for an answer of the broker, at most [`ANSWER_TIMEOUT`] while it is not blocked.
async fn answer<T>(
    link: &Link,
    answer: impl Future<Output = Result<T, LinkFailure>>,
) -> Result<T, LinkFailure> {
    let within = ANSWER_TIMEOUT;
    answered(within, link.blocked(), answer)
        .await
        .unwrap_or_else(|| Err(LinkFailure::Timeout { address: link.address().to_owned(), within }))
}

async fn open_channels(link: &Link, topology: &Topology) -> Result<Vec<Channel>, LinkFailure> {
    let mut channels = Vec::with_capacity(ROUNDS_MAX);
    for _ in 0..ROUNDS_MAX {
        channels.push(open_channel(link, topology).await?);
    }
    Ok(channels)
}

async fn open_channel(link: &Link, topology: &Topology) -> Result<Channel, LinkFailure> {
    let channel = link.channel().await?;
    if topology.queue_type.confirms() {
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    }
    Ok(channel)
}

fn closed() -> lapin::Error {
    lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Closed).into()
}
