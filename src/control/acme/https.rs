//! HTTP over TLS to an authority: a connection for each request, everything bounded.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long a request may take, from the lookup of the name to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer: chains of certificates are the longest, and have a few KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

type Answer = Result<BytesResponse, Error>;

/// An authority that has no time for us (RFC 8555 §6.6).
#[derive(Debug, thiserror::Error)]
#[error("the authority wants to be asked later: {problem}")]
pub(super) struct Later {
    problem: String,
    /// From now on.
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0} is no https: URL with a host")]
    Url(Uri),
    #[error("{host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error("{host}: no answer: {source}")]
    Exchange { host: String, source: hyper::Error },
    #[error("{host}: an answer that is broken off or has over {ANSWER_BYTES_MAX} bytes: {reason}")]
    Body { host: String, reason: String },
    #[error("{host}: no answer within {REQUEST_TIMEOUT:?}")]
    TimedOut { host: String },
}

/// Talks to servers whose certificates are believed.
pub(super) struct Https {
    connector: TlsConnector,
}

impl Https {
    pub(super) fn new(client: &tls::Client) -> Self {
        Self { connector: TlsConnector::from(client.config()) }
    }
}

impl HttpClient for Https {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let connector = self.connector.clone();
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let response = timeout(REQUEST_TIMEOUT, exchange(connector, request)).await;
            let response = response.unwrap_or(Err(Unanswered::TimedOut { host }));
            judge(response.map_err(|error| Error::Other(Box::new(error)))?)
        })
    }
}

/// One request and its answer.
///
/// # Cancel safety
/// Safe: the connection is closed; whether the request was heard is unknown.
async fn exchange(
    connector: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Bytes>, Unanswered> {
    let uri = std::mem::take(request.uri_mut());
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("https")).cloned() else {
        return Err(Unanswered::Url(uri));
    };
    // A connection's own form of the target (RFC 9112 §3.2.1).
    *request.uri_mut() = uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()));
    let host = authority.host().to_owned();
    if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, value);
    }
    let unconnected = |source| Unanswered::Connect { host: host.clone(), source };
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = bare.clone().try_into().map_err(|_| Unanswered::Url(uri))?;
    let stream =
        TcpStream::connect((bare, authority.port_u16().unwrap_or(443))).await.map_err(unconnected)?;
    let stream = connector.connect(name, stream).await.map_err(unconnected)?;
    let unanswered = |source| Unanswered::Exchange { host: host.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
    // The connection moves the bytes; it ends with the answer, at the latest with this exchange.
    let _connection = Connection(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(unanswered)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Unanswered::Body { host: host.clone(), reason: error.to_string() })?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// The task of a connection, ended with what it is for.
struct Connection(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells an authority that is busy, or has had enough of us, from one that answers.
fn judge(response: Response<Bytes>) -> Answer {
    let is_busy =
        matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if !is_busy {
        return Ok(response.map(Full::new).into());
    }
    let problem = serde_json::from_slice::<Problem>(response.body())
        .map_or_else(|_| response.status().to_string(), |problem| problem.to_string());
    Err(Error::Other(Box::new(Later { problem, retry_after: retry_after(response.headers()) })))
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = |date: SystemTime| date.duration_since(SystemTime::now()).unwrap_or_default();
    value.parse().map(Duration::from_secs).ok().or_else(|| httpdate::parse_http_date(value).ok().map(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: &str, body: &'static str) -> Answer {
        let response = Response::builder().status(status).header(RETRY_AFTER, retry_after);
        judge(response.body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    fn later(answer: Answer) -> Later {
        match answer {
            Err(Error::Other(error)) => *error.downcast().unwrap(),
            _ => panic!("the authority was busy"),
        }
    }

    #[test]
    fn an_authority_that_has_had_enough_says_why_and_for_how_long() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429}"#;
        let told = later(answer(429, "3600", problem));
        assert_eq!(told.retry_after, Some(Duration::from_secs(3600)));
        assert!(told.to_string().contains("too many"), "{told}");
        assert_eq!(later(answer(503, "", "<html>")).retry_after, None);
        let past = later(answer(503, "Fri, 31 Dec 1999 23:59:59 GMT", ""));
        assert_eq!(past.retry_after, Some(Duration::ZERO));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
        let soon = later(answer(503, &date, "")).retry_after.unwrap();
        assert!((Duration::from_secs(590)..=Duration::from_secs(600)).contains(&soon), "{soon:?}");
        for status in [200, 201, 400, 403, 500] {
            assert!(answer(status, "60", "").is_ok(), "{status} is instant-acme's to judge");
        }
    }
}
