//! The subscribers of the demo's feed: all they do is to listen, each in a task of its own, all on one thread.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::certificate::NAME;
use super::client::{Dialler, News};
use super::servers::FEED;

/// Handshakes under way at once: a thousand in a row are a crowd, all at once a flood.
const OPENING_MAX: usize = 16;
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Before one comes back that has lost its session.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Each has such a buffer of its own; a message of the feed is a few bytes.
const BUFFER_BYTES: usize = 1024;

/// A connection, in TLS or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Starts so many of them, until nobody listens to their news any more.
///
/// # Errors
/// When there is no thread, or no epoll, for them.
pub(super) fn start(dialler: Dialler, count: u32, news: SyncSender<News>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    let all = async move {
        let subscribers = (0..count).map(|_| subscribe(dialler.clone(), opening.clone(), news.clone()));
        subscribers.collect::<JoinSet<()>>().join_all().await;
    };
    thread::Builder::new().name("subscribers".to_owned()).spawn(move || runtime.block_on(all)).map(drop)
}

/// Listens, and comes back after each loss.
///
/// # Cancel safety
/// To be dropped to end it: the connection is closed.
async fn subscribe(dialler: Dialler, opening: Arc<Semaphore>, news: SyncSender<News>) {
    let mut is_first = true;
    loop {
        let socket = {
            let _turn = opening.acquire().await;
            timeout(OPEN_TIMEOUT, open(&dialler)).await
        };
        if let Ok(Ok(mut socket)) = socket {
            if !is_first && matches!(news.try_send(News::Reconnected), Err(TrySendError::Disconnected(_))) {
                return;
            }
            is_first = false;
            // What it gets is counted by the proxy.
            while let Some(Ok(_)) = socket.next().await {}
        }
        sleep(RECONNECT_AFTER).await;
    }
}

/// # Cancel safety
/// The connection is closed.
async fn open(dialler: &Dialler) -> Result<Socket, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(dialler.address).await?;
    let (scheme, stream): (_, Box<dyn Stream>) = match &dialler.tls {
        None => ("ws", Box::new(stream)),
        Some(tls) => {
            let connector = TlsConnector::from(tls.clone());
            ("wss", Box::new(connector.connect(ServerName::try_from(NAME)?, stream).await?))
        }
    };
    let url = format!("{scheme}://{}/{FEED}", dialler.address);
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}
