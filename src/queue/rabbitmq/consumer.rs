//! A consumer: a task that delivers the jobs that the broker sends, and settles them.
//!
//! It reconnects as often as necessary. On each connection it declares the topology, sets its prefetch, and
//! consumes; when the connection, the channel or the consumer ends unexpectedly, it starts again. When it is
//! stopped it cancels its subscription, returns the jobs that were not received, and ends when the others are
//! settled, because a job can be acknowledged only on the connection that delivered it.

use std::num::NonZeroU16;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use lapin::Channel;
use lapin::message::Delivery as Message;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::{Connector, Link, LinkFailure, LinkRole, Pause, note_lost};
use super::settlement::{Settler, settle};
use super::topology::Topology;
use crate::queue::delivery::Settlement;
use crate::queue::{Deliveries, Delivery, Job};

/// Interval at which a consumer checks whether it has received anything.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Number of checks without a message, and without unsettled jobs, after which a consumer subscribes again.
const IDLE_CHECKS_MAX: u32 = 4;

/// Reason for which the consumption on a channel ended.
enum Ended {
    Stopped,
    /// Nothing was received for a while.
    Idle,
}

pub(super) struct BrokerConsumer {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    prefetch: NonZeroU16,
    out: mpsc::Sender<Delivery>,
    prefetched: Weak<Prefetched>,
    stop: CancellationToken,
}

/// Jobs that were prefetched and not yet received by the worker. Shared, so that they can be returned to the
/// broker while the worker is busy.
type Prefetched = Mutex<mpsc::Receiver<Delivery>>;

impl BrokerConsumer {
    /// Returns a consumer to be run, and the stream that it feeds.
    pub(super) fn new(
        connector: Arc<Connector>,
        topology: Arc<Topology>,
        prefetch: NonZeroU16,
        stop: CancellationToken,
    ) -> (Self, Deliveries) {
        let (out, prefetched) = mpsc::channel(usize::from(prefetch.get()));
        let prefetched = Arc::new(Mutex::new(prefetched));
        let this = Self {
            connector,
            topology,
            prefetch,
            out,
            prefetched: Arc::downgrade(&prefetched),
            stop: stop.clone(),
        };
        let deliveries = stream::poll_fn(move |cx| lock(&prefetched).poll_recv(cx));
        (this, Deliveries::new(deliveries, stop))
    }

    pub(super) async fn run(self) {
        let mut pause = Pause::default();
        loop {
            let link = tokio::select! {
                link = self.connector.open(LinkRole::Consumer, &self.topology, drop) => link,
                () = self.stopped() => return,
            };
            match self.serve(link, &mut pause).await {
                Ok(()) => return,
                Err(failure) => note_lost(LinkRole::Consumer, &failure),
            }
            // The broker delivers them again, with all other unsettled jobs.
            self.return_prefetched();
            tokio::select! {
                () = pause.wait() => {}
                () = self.stopped() => return,
            }
        }
    }

    fn return_prefetched(&self) {
        let Some(prefetched) = self.prefetched.upgrade() else { return };
        let mut prefetched = lock(&prefetched);
        while let Ok(delivery) = prefetched.try_recv() {
            delivery.requeue();
        }
    }

    /// Resolves when the consumer is stopped or its stream is dropped.
    async fn stopped(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.out.closed() => {}
        }
    }

    /// Consumes on one connection, until the consumer is stopped (`Ok`) or the connection is lost.
    async fn serve(&self, link: Link, pause: &mut Pause) -> Result<(), LinkFailure> {
        while let Ended::Idle = self.consume(&link, pause).await? {}
        link.close().await;
        Ok(())
    }

    /// Consumes on one channel.
    async fn consume(&self, link: &Link, pause: &mut Pause) -> Result<Ended, LinkFailure> {
        let (channel, consumer) = self.connector.in_time(link.address(), self.subscribe(link)).await?;
        *pause = Pause::default();
        tracing::debug!(broker = link.address(), prefetch = self.prefetch, "consuming");

        let (settler, settlements) = Settler::new();
        let settler = Arc::new(settler);
        let unsettled = Arc::downgrade(&settler);
        let received = AtomicU64::new(0);
        let mut settling = pin!(settle(&channel, settlements));
        tokio::select! {
            delivered = self.deliver(&channel, consumer, settler, &received) => delivered?,
            settled = &mut settling => settled?,
            lost = self.subscription_lost(link, &received, &unsettled) => return Err(lost?),
            () = idle(&received, &unsettled) => {
                tracing::debug!(broker = link.address(), "nothing received for a while, subscribing again");
                let closing = async { Ok(channel.close(200, "subscribing again".into()).await?) };
                self.connector.in_time(link.address(), closing).await?;
                return Ok(Ended::Idle);
            }
        }
        settling.await?;
        Ok(Ended::Stopped)
    }

    async fn subscribe(&self, link: &Link) -> Result<(Channel, lapin::Consumer), LinkFailure> {
        let channel = link.channel().await?;
        // A limit for each consumer; quorum queues do not support one for a channel.
        channel.basic_qos(self.prefetch.get(), BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions {
            no_local: false,  // the broker ignores it
            no_ack: false,    // acknowledged explicitly, after the claim is in the log
            exclusive: false, // workers compete
            nowait: false,    // a refusal must be seen
        };
        let consumer = channel
            // The broker generates the consumer tag.
            .basic_consume(self.topology.jobs.clone(), "".into(), options, FieldTable::default())
            .await?;
        Ok((channel, consumer))
    }

    /// Resolves when the broker has evidently lost this consumer's subscription, which may happen when a node
    /// fails.
    ///
    /// A consumer that receives nothing checks whether it should: jobs wait although its prefetch is not
    /// exhausted, or the queue has no consumer. Both must be observed twice, since a job may be in transit.
    async fn subscription_lost(
        &self,
        link: &Link,
        received: &AtomicU64,
        unsettled: &Weak<Settler>,
    ) -> Result<LinkFailure, LinkFailure> {
        let channel = link.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut received_before = received.load(Ordering::Relaxed);
        let mut seems_lost = false;
        loop {
            sleep(CHECK_INTERVAL).await;
            let received_now = received.load(Ordering::Relaxed);
            // One reference belongs to `deliver`, each other one to a delivery.
            let below_prefetch = unsettled.strong_count() <= usize::from(self.prefetch.get());
            let expects_more = received_now == received_before && below_prefetch;
            received_before = received_now;
            if !expects_more {
                seems_lost = false;
                continue;
            }
            let queue =
                channel.queue_declare(self.topology.jobs.clone(), passive, FieldTable::default()).await?;
            let seemed_lost = seems_lost;
            seems_lost = queue.message_count() > 0 || queue.consumer_count() == 0;
            if seems_lost && seemed_lost {
                return Ok(LinkFailure::ConsumerEnded);
            }
        }
    }

    /// Delivers messages until the consumer is stopped, and returns those that were not received to the
    /// broker.
    async fn deliver(
        &self,
        channel: &Channel,
        mut consumer: lapin::Consumer,
        settler: Arc<Settler>,
        received: &AtomicU64,
    ) -> Result<(), LinkFailure> {
        let mut stopped = pin!(self.stopped());
        loop {
            let message = tokio::select! {
                biased;
                () = &mut stopped => break,
                message = consumer.next() => message.ok_or(LinkFailure::ConsumerEnded)??,
            };
            received.fetch_add(1, Ordering::Relaxed);
            let Some(delivery) = read(message, &settler) else { continue };
            if !self.pass_on(delivery, stopped.as_mut()).await {
                break;
            }
        }
        self.return_prefetched();
        channel.basic_cancel(consumer.tag(), BasicCancelOptions { nowait: false }).await?;
        while let Some(message) = consumer.next().await {
            settler.send(message?.delivery_tag, Settlement::Requeue);
        }
        Ok(())
    }

    /// Sends a delivery to the stream, whose buffer holds as many as the prefetch. A delivery that cannot be
    /// sent is dropped, and so returned to the broker.
    async fn pass_on(&self, delivery: Delivery, stopped: Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::select! {
            passed = self.out.send(delivery) => passed.is_ok(),
            () = stopped => false,
        }
    }
}

/// Resolves when nothing has been received for so long that the broker may have lost the subscription without
/// showing it.
///
/// A broker notifies its consumers when their queue is deleted, but not when a queue of the same name exists
/// again by then, which the publisher ensures: the broker then moves the consumer to the new queue itself,
/// and loses its channel. The new queue delivers jobs to no channel and considers them delivered
/// (`rabbit_channel:handle_consuming_queue_down_or_eol`; observed with RabbitMQ 3.10). A client cannot
/// distinguish such a consumer from one without work, so a consumer without work for a while subscribes
/// again.
async fn idle(received: &AtomicU64, unsettled: &Weak<Settler>) {
    let mut received_before = 0;
    let mut idle_checks = 0;
    while idle_checks < IDLE_CHECKS_MAX {
        sleep(CHECK_INTERVAL).await;
        let received_now = received.load(Ordering::Relaxed);
        // One reference belongs to `deliver`, each other one to a delivery.
        let is_idle = received_now == received_before && unsettled.strong_count() <= 1;
        received_before = received_now;
        idle_checks = if is_idle { idle_checks + 1 } else { 0 };
    }
}

fn lock(prefetched: &Prefetched) -> MutexGuard<'_, mpsc::Receiver<Delivery>> {
    // A panic of the caller cannot leave the receiver in an inconsistent state.
    prefetched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the delivery of a message. An invalid message is parked; otherwise it would be redelivered
/// indefinitely.
fn read(message: Message, settler: &Arc<Settler>) -> Option<Delivery> {
    if message.redelivered {
        counter!("hooksentry_queue_redelivered_total").increment(1);
    }
    match Job::read(&message.data) {
        Ok(job) => {
            let settler = Arc::clone(settler) as Arc<_>;
            Some(Delivery::new(job, message.redelivered, message.delivery_tag, settler))
        }
        Err(error) => {
            tracing::error!(%error, bytes = message.data.len(), "parked a message that is not a valid job");
            settler.send(message.delivery_tag, Settlement::Park);
            None
        }
    }
}
