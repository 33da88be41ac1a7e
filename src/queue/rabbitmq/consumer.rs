//! One consumer: a task that hands out what the broker pushes and carries verdicts back.
//!
//! It lives through as many connections as it takes. On each it declares the topology, asks for its
//! prefetch, and consumes; when the connection, the channel or the consumer ends unasked, it starts over.
//! NotificationCounter to stop, it cancels at the broker, hands back what nobody took, and stays only until the jobs in
//! hand are settled, because an acknowledgement counts only on the connection the job came by.

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

use super::connection::{Connector, Link, LinkFailure, Pause, Role, note_lost};
use super::settlement::{Settler, settle};
use super::topology::Topology;
use crate::queue::delivery::Verdict;
use crate::queue::{Deliveries, Delivery, Job};

/// How often a consumer looks whether it has received anything.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Looks without anything received, and with nothing in hand, after which a consumer begins anew. An attempt in
/// hand ends with its timeout.
const SILENT_LOOKS_MAX: u32 = 4;

/// Why a channel's consumer ended.
enum Ended {
    /// It was told to stop.
    Stopped,
    /// It received nothing for a while.
    Silent,
}

pub(super) struct Consumer {
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    prefetch: NonZeroU16,
    out: mpsc::Sender<Delivery>,
    fetched: Weak<Fetched>,
    stop: CancellationToken,
}

/// Jobs that were fetched and not yet taken. Shared, so that they can be handed back while whoever takes
/// them is busy.
type Fetched = Mutex<mpsc::Receiver<Delivery>>;

impl Consumer {
    /// A consumer to be run, and the stream that it feeds.
    pub(super) fn new(
        connector: Arc<Connector>,
        topology: Arc<Topology>,
        prefetch: NonZeroU16,
        stop: CancellationToken,
    ) -> (Self, Deliveries) {
        let (out, fetched) = mpsc::channel(usize::from(prefetch.get()));
        let fetched = Arc::new(Mutex::new(fetched));
        let this = Self {
            connector,
            topology,
            prefetch,
            out,
            fetched: Arc::downgrade(&fetched),
            stop: stop.clone(),
        };
        let deliveries = stream::poll_fn(move |cx| lock(&fetched).poll_recv(cx));
        (this, Deliveries::new(deliveries, stop))
    }

    pub(super) async fn run(self) {
        let mut pause = Pause::default();
        loop {
            let link = tokio::select! {
                link = self.connector.open(Role::Consumer, &self.topology, drop) => link,
                () = self.unwanted() => return,
            };
            match self.serve(link, &mut pause).await {
                Ok(()) => return,
                Err(failure) => note_lost(Role::Consumer, &failure),
            }
            // The broker hands them out again, with all that was in hand.
            self.let_go_of_fetched();
            tokio::select! {
                () = pause.wait() => {}
                () = self.unwanted() => return,
            }
        }
    }

    fn let_go_of_fetched(&self) {
        let Some(fetched) = self.fetched.upgrade() else { return };
        let mut fetched = lock(&fetched);
        while let Ok(delivery) = fetched.try_recv() {
            delivery.requeue();
        }
    }

    /// Resolves when the consumer is told to stop or nobody listens any more.
    async fn unwanted(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.out.closed() => {}
        }
    }

    /// Serves over one connection, until told to stop (`Ok`) or it is lost.
    async fn serve(&self, link: Link, pause: &mut Pause) -> Result<(), LinkFailure> {
        while let Ended::Silent = self.consume(&link, pause).await? {}
        link.close().await;
        Ok(())
    }

    /// Consumes on one channel.
    async fn consume(&self, link: &Link, pause: &mut Pause) -> Result<Ended, LinkFailure> {
        let (channel, consumer) = self.connector.in_time(link.address(), self.begin(link)).await?;
        *pause = Pause::default();
        tracing::debug!(broker = link.address(), prefetch = self.prefetch, "consuming");

        let (settler, verdicts) = Settler::new();
        let settler = Arc::new(settler);
        let in_hand = Arc::downgrade(&settler);
        let received = AtomicU64::new(0);
        let mut settling = pin!(settle(&channel, verdicts));
        tokio::select! {
            handed_out = self.hand_out(&channel, consumer, settler, &received) => handed_out?,
            settled = &mut settling => settled?,
            forgotten = self.forgotten(link, &received, &in_hand) => return Err(forgotten?),
            () = silence(&received, &in_hand) => {
                tracing::debug!(broker = link.address(), "nothing received for a while, beginning anew");
                let closing = async { Ok(channel.close(200, "beginning anew".into()).await?) };
                self.connector.in_time(link.address(), closing).await?;
                return Ok(Ended::Silent);
            }
        }
        settling.await?;
        Ok(Ended::Stopped)
    }

    async fn begin(&self, link: &Link) -> Result<(Channel, lapin::Consumer), LinkFailure> {
        let channel = link.channel().await?;
        // Counted for each consumer; quorum queues know no limit for a whole channel.
        channel.basic_qos(self.prefetch.get(), BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions {
            no_local: false,  // the broker ignores it
            no_ack: false,    // acknowledged by hand, after the outcome is in the log
            exclusive: false, // workers compete
            nowait: false,    // a refusal must be seen
        };
        let consumer = channel
            // The broker makes up a name for the consumer.
            .basic_consume(self.topology.jobs.clone(), "".into(), options, FieldTable::default())
            .await?;
        Ok((channel, consumer))
    }

    /// Resolves when the broker shows that it has forgotten this consumer, as one may whose node failed.
    ///
    /// A consumer that receives nothing looks whether it should: jobs wait though it has room, or its queue
    /// knows no consumer. It believes that only when it sees it twice, since a job may just be on its way.
    async fn forgotten(
        &self,
        link: &Link,
        received: &AtomicU64,
        in_hand: &Weak<Settler>,
    ) -> Result<LinkFailure, LinkFailure> {
        let channel = link.channel().await?;
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut received_before = received.load(Ordering::Relaxed);
        let mut suspicious = false;
        loop {
            sleep(LOOK_INTERVAL).await;
            let received_now = received.load(Ordering::Relaxed);
            // One reference is the receiving end's, each further one a delivery's.
            let has_room = in_hand.strong_count() <= usize::from(self.prefetch.get());
            let expects_more = received_now == received_before && has_room;
            received_before = received_now;
            if !expects_more {
                suspicious = false;
                continue;
            }
            let queue =
                channel.queue_declare(self.topology.jobs.clone(), look, FieldTable::default()).await?;
            let was_suspicious = suspicious;
            suspicious = queue.message_count() > 0 || queue.consumer_count() == 0;
            if suspicious && was_suspicious {
                return Ok(LinkFailure::ConsumerEnded);
            }
        }
    }

    /// Hands out messages until told to stop, and hands back those that nobody took.
    async fn hand_out(
        &self,
        channel: &Channel,
        mut consumer: lapin::Consumer,
        settler: Arc<Settler>,
        received: &AtomicU64,
    ) -> Result<(), LinkFailure> {
        let mut unwanted = pin!(self.unwanted());
        loop {
            let message = tokio::select! {
                biased;
                () = &mut unwanted => break,
                message = consumer.next() => message.ok_or(LinkFailure::ConsumerEnded)??,
            };
            received.fetch_add(1, Ordering::Relaxed);
            let Some(delivery) = read(message, &settler) else { continue };
            if !self.pass_on(delivery, unwanted.as_mut()).await {
                break;
            }
        }
        self.let_go_of_fetched();
        channel.basic_cancel(consumer.tag(), BasicCancelOptions { nowait: false }).await?;
        while let Some(message) = consumer.next().await {
            settler.pass(message?.delivery_tag, Verdict::HandBack);
        }
        Ok(())
    }

    /// There is room for as many as the broker may send. A delivery that cannot be passed on is dropped, and
    /// so handed back.
    async fn pass_on(&self, delivery: Delivery, unwanted: Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::select! {
            passed = self.out.send(delivery) => passed.is_ok(),
            () = unwanted => false,
        }
    }
}

/// Resolves when nothing has been received for so long that the broker may have forgotten its consumer and not
/// show it.
///
/// A broker tells its consumers when their queue is deleted, but not when a queue of the same name is there by
/// the time it comes to do so, as our publisher sees to: then it moves the consumer to the new queue by itself,
/// and loses on the way where to deliver. The new queue hands out jobs that reach nobody, and takes them for
/// delivered (`rabbit_channel:handle_consuming_queue_down_or_eol`; seen with RabbitMQ 3.10). Nothing that a client
/// can ask tells such a consumer from one without work, so one that has no work for a while begins anew.
async fn silence(received: &AtomicU64, in_hand: &Weak<Settler>) {
    let mut received_before = 0;
    let mut silent_looks = 0;
    while silent_looks < SILENT_LOOKS_MAX {
        sleep(LOOK_INTERVAL).await;
        let received_now = received.load(Ordering::Relaxed);
        // One reference is the receiving end's, each further one a delivery's.
        let is_silent = received_now == received_before && in_hand.strong_count() <= 1;
        received_before = received_now;
        silent_looks = if is_silent { silent_looks + 1 } else { 0 };
    }
}

fn lock(fetched: &Fetched) -> MutexGuard<'_, mpsc::Receiver<Delivery>> {
    // A receiver is whole between two calls, whatever happened to their caller.
    fetched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The job of a message. A message without one would be handed out and handed back for ever: it is parked.
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
            tracing::error!(%error, bytes = message.data.len(), "parked a message that is no job");
            settler.pass(message.delivery_tag, Verdict::Park);
            None
        }
    }
}
