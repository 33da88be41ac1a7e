//! One connection of a client, and the connection to the server that belongs to it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Direction, Fault, Faults};

/// Bytes that are read at once.
const CHUNK_BYTES_MAX: usize = 16 << 10;
/// Chunks that are read and not yet written, in one direction.
const CHUNKS_MAX: usize = 64;

/// Handle of a connection.
#[derive(Debug)]
pub(super) struct Link {
    faults: watch::Sender<Faults>,
    /// Cancelled when the server's side is to be closed alone.
    abandoned: CancellationToken,
}

/// The side of [`Link`] that transports the bytes. It closes both connections when it is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    faults: watch::Receiver<Faults>,
    abandoned: CancellationToken,
}

/// The two directions of a socket.
pub(super) struct Stream {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Stream {
    pub(super) fn of(socket: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        Self { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

impl Link {
    pub(super) fn new(faults: Faults) -> (Self, Serving) {
        let (faults, receiver) = watch::channel(faults);
        let abandoned = CancellationToken::new();
        let serving = Serving { faults: receiver, abandoned: abandoned.clone() };
        (Self { faults, abandoned }, serving)
    }

    pub(super) fn set(&self, direction: Direction, fault: Fault) {
        self.faults.send_modify(|faults| faults.set(direction, fault));
    }

    pub(super) fn abandon(&self) {
        self.abandoned.cancel();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.faults.is_closed()
    }
}

impl Serving {
    /// Transports bytes until both sides have closed their direction, or the connection is cut.
    pub(super) async fn serve(self, client: TcpStream, server: impl Future<Output = io::Result<Stream>>) {
        let mut faults = self.faults.clone();
        tokio::select! {
            () = self.transport(client, server) => {}
            // An error means that the proxy was dropped.
            _ = faults.wait_for(|faults| faults.is_cut()) => {}
        }
    }

    async fn transport(&self, client: TcpStream, server: impl Future<Output = io::Result<Stream>>) {
        let _ = client.set_nodelay(true);
        let Stream { reader: mut from_client, writer: mut to_client } = Stream::of(client);
        // It owns the server's side, which is closed when it is dropped.
        let connected = async {
            let Ok(server) = server.await else { return };
            tokio::join!(
                pump(&mut from_client, server.writer, self.faults.clone(), |faults| faults.to_server),
                pump(server.reader, &mut to_client, self.faults.clone(), |faults| faults.to_client),
            );
        };
        tokio::select! {
            () = connected => return,
            () = self.abandoned.cancelled() => {}
        }
        // Nothing is answered until the client closes the connection.
        let _ = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
    }
}

/// Passes bytes on in one direction until the sender has closed it.
async fn pump(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    faults: watch::Receiver<Faults>,
    of: fn(Faults) -> Fault,
) {
    let (chunks, waiting) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(read(from, chunks, faults.clone(), of), write(to, waiting, faults, of));
}

/// Bytes to write, not before a time.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<Chunk>,
    mut faults: watch::Receiver<Faults>,
    of: fn(Faults) -> Fault,
) {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        let fault = of(*faults.borrow_and_update());
        let read = tokio::select! {
            changed = faults.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut buffer), if fault != Fault::Stall => read.unwrap_or_default(),
        };
        let delay = match fault {
            Fault::Delay(delay) => delay,
            _ => Duration::ZERO,
        };
        if fault == Fault::Swallow && read > 0 {
            continue;
        }
        if read == 0 {
            // The end is not seen either while bytes are swallowed. An error means that the proxy was dropped.
            let _ = faults.wait_for(|faults| of(*faults) != Fault::Swallow).await;
            return;
        }
        let chunk = Chunk { bytes: buffer[..read].to_vec(), due: Instant::now() + delay };
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut waiting: mpsc::Receiver<Chunk>,
    faults: watch::Receiver<Faults>,
    of: fn(Faults) -> Fault,
) {
    while let Some(chunk) = waiting.recv().await {
        sleep_until(chunk.due).await;
        let is_lost = of(*faults.borrow()) == Fault::Swallow;
        if !is_lost && to.write_all(&chunk.bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
