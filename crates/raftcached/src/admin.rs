//! The admin HTTP of one node: health, status, metrics, leader moves, members, drain, certificates.
//!
//! Not here: what the metrics are (`metrics.rs`), authentication. The listener is on loopback unless
//! the operator says otherwise.

mod members;

#[cfg(fuzzing)]
pub use members::fuzzing;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use replication::{MoveError, Node};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::certificates::Certificates;
use crate::ending::{self, Requests};
use crate::metrics::{self, Metrics};

/// What the handlers know.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) node: Node,
    pub(crate) phase: Phase,
    pub(crate) clients: frontend::Server,
    /// This node's.
    pub(crate) name: String,
    /// Where a file of the size of all items has its place.
    pub(crate) scratch: PathBuf,
    pub(crate) requests: Requests,
    pub(crate) certificates: Certificates,
}

/// How far the node is between start and end.
///
/// ```text
///   JOINING ──address open──▶ OPEN ──told to end──▶ DRAINING
/// ```
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// Clients can connect.
    pub(crate) const OPEN: u8 = 1;
    /// Shutdown has begun: health checks fail before clients are turned away.
    pub(crate) const DRAINING: u8 = 2;

    /// Goes on to [`Phase::OPEN`] or [`Phase::DRAINING`]; never back.
    pub(crate) fn enter(&self, phase: u8) {
        self.0.fetch_max(phase, Ordering::AcqRel);
    }
}

/// Answers on `listener` until `end`, and then what has been asked already.
///
/// # Errors
///
/// If the listener cannot be used.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    admin: Admin,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = BoundedListener {
        listener: TcpListener::from_std(listener)?,
        permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    axum::serve(listener, router(admin)).with_graceful_shutdown(end).await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/leader", post(move_leader))
        .route("/v1/drain", post(drain))
        .route("/v1/certs/reload", post(reload_certificates))
        .merge(members::routes())
        .method_not_allowed_fallback(async || {
            failed(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .fallback(async || failed(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .layer(axum::middleware::from_fn(refuse_web_pages))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(admin)
}

/// Every browser sends an origin with a POST, and no page of ours exists that could.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return failed(StatusCode::FORBIDDEN, "requests made by web pages are refused");
    }
    next.run(request).await
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let why_not = match admin.phase.0.load(Ordering::Acquire) {
        Phase::OPEN if admin.node.is_serving() => return "ready\n".into_response(),
        Phase::OPEN => "no quorum\n",
        Phase::DRAINING => "shutting down\n",
        _ => "joining the cluster\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    Json(admin.node.status().await).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let is_open = admin.phase.0.load(Ordering::Acquire) == Phase::OPEN;
    let metrics = Metrics::gather(admin.name, &admin.node, &admin.clients, is_open).await;
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn move_leader(State(admin): State<Admin>, uri: Uri) -> Response {
    let to = match target(uri.query()) {
        Ok(to) => to,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    if let Err(error) = admin.node.move_leader(to.clone()).await {
        let status = match error {
            MoveError::Refused(_) => StatusCode::CONFLICT,
            // No leader, or the move did not end in time: worth another try.
            MoveError::NoLeader | MoveError::TimedOut | _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        return failed(status, &error.to_string());
    }
    let leader = match to {
        Some(to) => Some(to),
        None => admin.node.status().await.shards.first().and_then(|shard| shard.leader.clone()),
    };
    let leader = leader.as_deref().unwrap_or("another node");
    format!("moved to {leader}\n").into_response()
}

async fn drain(State(admin): State<Admin>) -> Response {
    // Before the answer: whoever has it finds the node not ready.
    admin.phase.enter(Phase::DRAINING);
    admin.requests.make(ending::Request::Drain);
    Json(json!({ "draining": true })).into_response()
}

async fn reload_certificates(State(admin): State<Admin>) -> Response {
    match admin.certificates.reload().await {
        Ok(loaded) => Json(loaded).into_response(),
        Err(error) => failed(StatusCode::CONFLICT, &format!("{error:#}")),
    }
}

/// The node named by the query `to=NAME`; names never need percent encoding.
fn target(query: Option<&str>) -> Result<Option<String>, &'static str> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    match query.split_once('=') {
        Some(("to", name)) if !name.is_empty() && !name.contains(['&', '=', '%', '+']) => {
            Ok(Some(name.to_owned()))
        }
        _ => Err("the query is ?to=NAME or nothing"),
    }
}

fn failed(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

/// Accepts so many connections at the same time, and lets none live for ever: whoever sends a
/// header byte by byte, or never reads, is cut off.
struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, Self::Addr) {
        // The semaphore is never closed; without a permit there would be no bound, not no service.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep(CONNECTION_LIFE));
        (BoundedStream { stream, end, _permit: permit }, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

struct BoundedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl BoundedStream {
    fn poll_end(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(std::io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Far more than any request takes.
const BODY_LEN_MAX: usize = 16 * 1024;
const CONNECTIONS_MAX: usize = 256;
/// Nothing takes longer than saving a few GiB to a slow disk.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_move() {
        let good = [(None, None), (Some(""), None), (Some("to=n2"), Some("n2"))];
        for (query, want) in good {
            assert_eq!(target(query), Ok(want.map(str::to_owned)), "case: {query:?}");
        }
        for query in ["to=", "to", "from=n2", "to=n2&to=n3", "to=%6e2"] {
            assert!(target(Some(query)).is_err(), "case: {query}");
        }
    }
}
