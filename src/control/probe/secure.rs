//! TLS with a backend that is probed.

use std::error::Error;
use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

use crate::health::ProbeFault;
use crate::tls;

/// Shakes hands with the backend that `host` means. In full each time, by a configuration with an empty memory: a
/// session that is resumed would not show whether the certificate is still good.
pub(super) async fn shake(
    stream: TcpStream,
    host: &str,
    client: &tls::Client,
) -> Result<TlsStream<TcpStream>, ProbeFault> {
    let name = client.server_name(host).map_err(|error| ProbeFault::Tls { reason: error.to_string() })?;
    let connected = TlsConnector::from(client.config()).connect(name, stream).await;
    connected.map_err(|error| {
        complaint(&error)
            .unwrap_or_else(|| ProbeFault::Tls { reason: "the connection ended in the handshake".to_owned() })
    })
}

/// What TLS has against a connection, if that is what an error is about: in TLS 1.3 a backend may turn us away only
/// after the handshake.
pub(super) fn complaint(error: &(dyn Error + 'static)) -> Option<ProbeFault> {
    let mut causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.find_map(|error| {
        let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
        let error = inner.downcast_ref::<rustls::Error>()?;
        Some(ProbeFault::Tls { reason: tls::explain(error, tls::Peer::Server) })
    })
}
