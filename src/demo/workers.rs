//! The slow servers of the demo: each works for a while on a message, and on one at a time, whoever it is from.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::accept_async;

/// For one message.
const WORK: Duration = Duration::from_millis(20);

/// Workers, all on one thread, for as long as this is kept.
pub(super) struct Workers {
    pub(super) addresses: Vec<SocketAddr>,
    /// Dropped with us, which ends the thread.
    _keep: oneshot::Sender<()>,
}

impl Workers {
    /// Starts so many of them.
    ///
    /// # Errors
    /// When there is no port, no thread or no epoll for them.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let listen = |_| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listeners = (0..count).map(listen).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (keep, gone) = oneshot::channel();
        let all = async move {
            let workers: JoinSet<_> = listeners.into_iter().map(work).collect();
            tokio::select! {
                _ = workers.join_all() => {}
                _ = gone => {}
            }
        };
        thread::Builder::new().name("workers".to_owned()).spawn(move || runtime.block_on(all))?;
        Ok(Self { addresses, _keep: keep })
    }
}

/// One worker.
///
/// # Cancel safety
/// To be dropped to end it: its connections are closed.
async fn work(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let hands = Arc::new(Semaphore::new(1));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, hands.clone()));
    }
}

/// Sends each message back when it is done with.
///
/// # Cancel safety
/// The connection is closed.
async fn serve(stream: TcpStream, hands: Arc<Semaphore>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() {
            continue;
        }
        {
            let _busy = hands.acquire().await;
            sleep(WORK).await;
        }
        if socket.send(message).await.is_err() {
            return;
        }
    }
}
