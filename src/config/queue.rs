//! Settings of the job queue.

use std::num::NonZeroU16;

use secrecy::SecretString;

use super::values::{ValueProblem, number_between};
use crate::queue::UNSTARTED_MAX;
use crate::queue::rabbitmq::{BrokerUrls, QueuePrefix, QueueType};

/// Address of the broker, and names, type and prefetch of its queues.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueSettings {
    /// RabbitMQ between dispatcher and workers, or the nodes of its cluster.
    ///
    /// URLs such as amqp://user:password@host:5672/vhost, separated by commas. If it is not set, jobs stay
    /// within the process, so dispatcher and worker must be roles of the same process.
    #[arg(long, env = "AMQP_URL", value_name = "URLS", hide_env_values = true, value_parser = broker_urls)]
    pub amqp_url: Option<BrokerUrls>,

    /// Prefix of the names of queues on the broker.
    ///
    /// Installations that share a broker need different prefixes, or they process each other's jobs.
    #[arg(
        long = "queue-prefix",
        env = "HOOKSENTRY_QUEUE_PREFIX",
        value_name = "PREFIX",
        default_value = "hooksentry",
        value_parser = prefix
    )]
    pub prefix: QueuePrefix,

    /// Type of the queue of jobs: transient or quorum.
    ///
    /// transient: in the memory of one node; the dispatcher publishes again what the broker loses. quorum: on the disks of
    /// several nodes of a cluster, so that deliveries continue when a node fails; each job waits for the disks. All
    /// processes with the roles dispatcher and worker need the same type. After a change, delete the old queue.
    #[arg(long, env = "HOOKSENTRY_QUEUE_TYPE", value_name = "transient|quorum", default_value = "transient")]
    pub queue_type: QueueType,

    /// Maximum number of jobs that a worker process has received from the broker and not yet claimed.
    ///
    /// A job is acknowledged when its attempt is claimed. The default is as many as may be on the queue. Lower: jobs
    /// of one tenant that wait for its attempts to end can be all that a worker has, and other tenants wait with them.
    /// Higher: of no use. A worker process that hangs may hold all jobs until HOOKSENTRY_REPUBLISH_AFTER.
    #[arg(
        long,
        env = "HOOKSENTRY_PREFETCH",
        value_name = "NUMBER",
        default_value_t = UNSTARTED_MAX,
        value_parser = number_between::<NonZeroU16>(NonZeroU16::MIN, NonZeroU16::MAX)
    )]
    pub prefetch: NonZeroU16,
}

fn broker_urls(text: &str) -> Result<BrokerUrls, ValueProblem> {
    BrokerUrls::parse(&SecretString::from(text)).map_err(|problem| ValueProblem(problem.to_string()))
}

fn prefix(text: &str) -> Result<QueuePrefix, ValueProblem> {
    let allowed = "must be 1 to 100 letters, digits, dots, underscores and hyphens, and not begin with amq.";
    QueuePrefix::new(text).map_err(|_| ValueProblem(allowed.to_owned()))
}
