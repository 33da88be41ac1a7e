//! Brokers for tests.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::{open_folder, process_folder, unique_name, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/rabbitmq-node");

/// The broker that all tests share.
pub(crate) struct SharedBroker {
    pub(crate) url: String,
    /// Every exchange and queue of this test begins with it: a virtual host for each test would keep them
    /// apart as well, but to make one takes longer than most tests.
    pub(crate) prefix: String,
}

impl SharedBroker {
    pub(crate) async fn connect() -> Self {
        static URL: OnceCell<(String, Option<OwnBroker>)> = OnceCell::const_new();
        let (url, _) = URL.get_or_init(shared_broker).await;
        Self { url: url.clone(), prefix: unique_name("test") }
    }
}

async fn shared_broker() -> (String, Option<OwnBroker>) {
    if let Ok(url) = std::env::var("HOOKSENTRY_TEST_AMQP_URL") {
        return (url, None);
    }
    let folder = process_folder().join("rabbitmq");
    fs::create_dir_all(&folder).expect("a folder");
    let broker = OwnBroker::start_in(&folder, None, 1).await;
    (broker.nodes[0].url(), Some(broker))
}

/// A broker for one test alone, which may stop and kill its nodes.
pub(crate) struct OwnBroker {
    // In this order, so that processes end before the port mapper and their folder go.
    pub(crate) nodes: Vec<BrokerNode>,
    _mapper: Guarded,
    _folder: Option<TempDir>,
}

impl OwnBroker {
    /// Starts a cluster of so many nodes and waits until they are one.
    pub(crate) async fn start(nodes: usize) -> Self {
        let folder = open_folder();
        let path = folder.path().to_owned();
        Self::start_in(&path, Some(folder), nodes).await
    }

    async fn start_in(path: &Path, folder: Option<TempDir>, nodes: usize) -> Self {
        let mapper_port = free_port();
        let mapper = Guarded::start(&path.join("epmd"), "epmd", &[mapper_port.to_string()]);
        let cookie = unique_name("cookie");
        let names: Vec<String> = (0..nodes).map(|_| unique_name("node")).collect();
        let mut broker = Self { nodes: Vec::new(), _mapper: mapper, _folder: folder };
        for name in &names {
            let port = free_port();
            let mut arguments =
                vec![name.clone(), port.to_string(), free_port().to_string(), mapper_port.to_string()];
            arguments.push(cookie.clone());
            arguments.extend(names.iter().filter(|peer| *peer != name).cloned());
            let mut node = BrokerNode { folder: path.join(name), port, arguments, process: None };
            // One after the other: nodes that start together for the first time may each found a cluster.
            node.start().await;
            broker.nodes.push(node);
        }
        if nodes > 1 {
            broker.nodes[0].control(&["await_online_nodes", &nodes.to_string()]);
        }
        broker
    }
}

/// One node of a broker.
pub(crate) struct BrokerNode {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    process: Option<Guarded>,
}

impl BrokerNode {
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Starts it for the first time or again, with what it kept, and waits until it serves.
    pub(crate) async fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut process = Guarded::start(&self.folder, "run", &self.arguments);
        until("the broker serves", async || {
            assert!(process.runs(), "the broker ended:\n{}", process.log());
            self.serves().await.then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// Stops it as an operator would.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().expect("a node that runs");
        drop(process.child.stdin.take());
        until("the broker stops", async || (!process.runs()).then_some(())).await;
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        let process = self.process.take().expect("a node that runs");
        drop(process);
    }

    /// Runs `rabbitmqctl` for this node.
    pub(crate) fn control(&self, arguments: &[&str]) -> String {
        let output =
            Command::new(SCRIPT).arg("ctl").arg(&self.folder).args(arguments).output().expect("the script");
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A node opens its port last, but something else could have it: only a broker answers like one.
    async fn serves(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
        // The broker's first word, `Connection.Start`, comes in a method frame, which is type 1.
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.is_ok() && stream.read_u8().await.ok() == Some(1)
    }
}

/// A process that ends with us, even if we are killed, because the script watches our end of its standard
/// input. Dropping it kills it at once.
struct Guarded {
    child: Child,
    folder: PathBuf,
}

impl Guarded {
    fn start(folder: &Path, verb: &str, arguments: &[String]) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let log = File::options().create(true).append(true).open(folder.join("output")).expect("a log");
        let child = Command::new(SCRIPT)
            .arg(verb)
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the script");
        Self { child, folder: folder.to_owned() }
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.runs()
            && let Ok(process) = fs::read_to_string(self.folder.join("pid"))
        {
            let _ = Command::new("kill").args(["-KILL", process.trim()]).status();
        }
        // Also if it had not come so far as to write its number: the guard then sees that we let go.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Below the range from which outgoing connections take theirs: while a broker is down, nobody else gets its
/// port by accident.
fn free_port() -> u16 {
    loop {
        let port = 10_000 + rand::random::<u16>() % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
