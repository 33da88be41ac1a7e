//! Brokers for tests.

use std::ops::{Deref, DerefMut};

use private_servers::TemporaryFolder;
use private_servers::rabbitmq::RabbitMq;
use tokio::sync::OnceCell;

use super::{process_folder, temporary_folder, unique_name};

/// The broker that all tests share.
pub(crate) struct SharedBroker {
    pub(crate) url: String,
    /// Prefix of every exchange and queue of this test. A virtual host for each test would separate them as
    /// well, but creating one takes longer than most tests.
    pub(crate) prefix: String,
}

impl SharedBroker {
    pub(crate) async fn connect() -> Self {
        static URL: OnceCell<(String, Option<RabbitMq>)> = OnceCell::const_new();
        let (url, _) = URL.get_or_init(shared_broker).await;
        Self { url: url.clone(), prefix: unique_name("test") }
    }
}

async fn shared_broker() -> (String, Option<RabbitMq>) {
    if let Ok(url) = std::env::var("HOOKSENTRY_TEST_AMQP_URL") {
        return (url, None);
    }
    let rabbitmq = RabbitMq::start(&process_folder().join("rabbitmq"), 1).await.expect("a broker");
    (rabbitmq.nodes[0].url(), Some(rabbitmq))
}

/// A broker for one test, which may stop and kill its nodes.
pub(crate) struct OwnBroker {
    // In this order, so that the nodes are killed before their folder is removed.
    rabbitmq: RabbitMq,
    _folder: TemporaryFolder,
}

impl OwnBroker {
    /// Starts a cluster of `nodes` nodes and waits until it is complete.
    pub(crate) async fn start(nodes: usize) -> Self {
        let folder = temporary_folder();
        let rabbitmq = RabbitMq::start(folder.path(), nodes).await.expect("a broker");
        Self { rabbitmq, _folder: folder }
    }
}

impl Deref for OwnBroker {
    type Target = RabbitMq;

    fn deref(&self) -> &RabbitMq {
        &self.rabbitmq
    }
}

impl DerefMut for OwnBroker {
    fn deref_mut(&mut self) -> &mut RabbitMq {
        &mut self.rabbitmq
    }
}
