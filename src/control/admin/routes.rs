//! The paths, and what each asks of the control plane.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::telemetry::{Overview, prometheus};

use super::guard::{Guard, guard};
use super::{Ask, DrainReport, Failure, ReloadReport, UnknownBackend};

/// How long the control plane may think. It answers within milliseconds, but for a reload, which resolves names.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// For those who lost their way.
const PATHS: &str = "GET /metrics /status /backends /config /healthz /readyz; \
                     POST /drain/BACKEND /undrain/BACKEND /drain /reload";

/// The way to the control plane's loop.
#[derive(Clone)]
struct Control(mpsc::Sender<Ask>);

/// The control plane did not answer.
struct Unanswered;

type Answer<T> = Result<T, Unanswered>;

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let error = "the control plane did not answer; what was asked for may still be done: see /status";
        failure(StatusCode::GATEWAY_TIMEOUT, error)
    }
}

impl IntoResponse for UnknownBackend {
    fn into_response(self) -> Response {
        failure(StatusCode::NOT_FOUND, &self.to_string())
    }
}

impl Control {
    /// Asks, and waits for the answer.
    ///
    /// # Cancel safety
    /// The answer is lost, and nobody minds; what was asked for is done.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.0.send(ask(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_TIMEOUT, exchange).await.ok().flatten().ok_or(Unanswered)
    }

    /// # Cancel safety
    /// Safe.
    async fn overview(&self) -> Answer<Box<Overview>> {
        self.ask(Ask::Overview).await
    }

    /// Writes an overview out, on a thread of its own: that of ten thousand backends is megabytes of text, and the
    /// control plane has health to look after.
    ///
    /// # Cancel safety
    /// Safe.
    async fn show(&self, write: impl FnOnce(Overview) -> Response + Send + 'static) -> Answer<Response> {
        let overview = self.overview().await?;
        spawn_blocking(move || write(*overview)).await.map_err(|_| Unanswered)
    }
}

/// An answer that is no success.
pub(super) fn failure(status: StatusCode, error: &str) -> Response {
    (status, Json(Failure { error: error.to_owned() })).into_response()
}

/// Every path of the admin interface, behind its guard.
pub(super) fn router(asks: mpsc::Sender<Ask>, watch: Guard) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/backends", get(backends))
        .route("/config", get(config))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/drain", post(shutdown))
        .route("/drain/{*backend}", post(drain))
        .route("/undrain/{*backend}", post(undrain))
        .route("/reload", post(reload))
        .fallback(async || failure(StatusCode::NOT_FOUND, &format!("there is: {PATHS}")))
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, PATHS))
        .layer(from_fn_with_state(Arc::new(watch), guard))
        .layer(map_response(uncached))
        .with_state(Control(asks))
}

/// Every answer is about this moment.
async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    response
}

async fn metrics(State(control): State<Control>) -> Answer<Response> {
    let scrape =
        |overview: Overview| ([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], prometheus::render(overview));
    control.show(move |overview| scrape(overview).into_response()).await
}

async fn status(State(control): State<Control>) -> Answer<Response> {
    control.show(|overview| Json(overview).into_response()).await
}

async fn backends(State(control): State<Control>) -> Answer<Response> {
    control.show(|overview| Json(overview.pools).into_response()).await
}

async fn config(State(control): State<Control>) -> Answer<Response> {
    let text = control.ask(Ask::Config).await?;
    Ok(([(CONTENT_TYPE, "application/toml")], text).into_response())
}

/// The process is alive, whatever else it is.
async fn healthz() -> &'static str {
    "alive\n"
}

/// Whether new sessions should be sent here, and if not, why.
async fn readyz(State(control): State<Control>) -> Answer<(StatusCode, String)> {
    let reasons = control.overview().await?.unready();
    if reasons.is_empty() {
        return Ok((StatusCode::OK, "ready\n".to_owned()));
    }
    Ok((StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))))
}

async fn drain(
    State(control): State<Control>,
    Path(backend): Path<String>,
) -> Answer<Result<Json<DrainReport>, UnknownBackend>> {
    Ok(control.ask(|reply| Ask::Drain { backend, reply }).await?.map(Json))
}

async fn undrain(
    State(control): State<Control>,
    Path(backend): Path<String>,
) -> Answer<Result<Json<DrainReport>, UnknownBackend>> {
    Ok(control.ask(|reply| Ask::Undrain { backend, reply }).await?.map(Json))
}

async fn reload(State(control): State<Control>) -> Answer<Response> {
    let reloaded: Result<ReloadReport, String> = control.ask(Ask::Reload).await?;
    Ok(match reloaded {
        Ok(report) => Json(report).into_response(),
        Err(error) => failure(StatusCode::UNPROCESSABLE_ENTITY, &error),
    })
}

/// Taken, but not done until the sessions are closed.
async fn shutdown(State(control): State<Control>) -> Answer<StatusCode> {
    control.ask(Ask::Shutdown).await.map(|()| StatusCode::ACCEPTED)
}
