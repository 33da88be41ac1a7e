//! Private PostgreSQL and RabbitMQ servers: for `hooksentry dev`, for the tests and for the benchmark.
//!
//! They are real servers, from the programs installed on this machine, but independent of the system's own
//! ones: each keeps its files in a folder that it is given, PostgreSQL listens on a Unix socket and RabbitMQ
//! on loopback ports that were free. They end with the process that started them, even if it is killed
//! (`guard`).

mod error;
mod guard;
pub mod patroni;
pub mod postgres;
pub mod rabbitmq;
mod server_user;
mod temporary_folder;

use std::time::Duration;

pub use error::ServerError;
pub use guard::GuardedProcess;
pub use temporary_folder::TemporaryFolder;

/// Time within which a server must be ready. PostgreSQL's recovery after a crash replays up to
/// `max_wal_size`, on a slow disk too.
const START_LIMIT: Duration = Duration::from_secs(120);
