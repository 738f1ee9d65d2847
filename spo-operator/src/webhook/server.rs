//! The server: HTTP/1.1 over TLS, with limits on everything a client chooses.
//!
//! | what | limit |
//! | --- | --- |
//! | connections, handshakes, silence | [`serve::Limits`](crate::process::serve::Limits) |
//! | a body | [`Limits::admission`], [`Limits::conversion`] bytes; more is 413 |
//! | all bodies that are being worked on | [`Limits::memory`] bytes; more wait |
//! | a request from its head to its answer | [`Limits::request`]; then 504 |
//!
//! `/livez` and `/readyz` are served here and, for a kubelet that comes before the certificate, without TLS on a port
//! of their own. Conversion works before the server is ready. The API server may need a conversion to answer the very
//! lists that fill the index (objects stored in an old version), so the Service in front of this server has to publish
//! addresses that are not ready.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::process::certificate::Certificates;

use super::{
    binding, convert,
    index::{Index, Shared},
    recording,
    review::{Answer, Malformed, Request as Question, Review},
    validate,
};

/// What a client can demand.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The bytes of an AdmissionReview. The API server takes objects up to 3 MiB, and an update has two.
    pub admission: usize,
    /// The bytes of a ConversionReview, which holds a whole list.
    pub conversion: usize,
    /// The bytes of all bodies that are being worked on.
    pub memory: usize,
    /// The time of a request.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            admission: 8 << 20,
            conversion: 32 << 20,
            memory: 64 << 20,
            // Shorter than the 10 seconds after which the API server gives up, so that it learns why.
            request: Duration::from_secs(9),
        }
    }
}

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct App {
    index: Shared,
    certificates: Certificates,
    limits: Limits,
    memory: Arc<Semaphore>,
}

impl App {
    /// The state of a server.
    pub fn new(index: Shared, certificates: Certificates, limits: Limits) -> Self {
        let memory = Arc::new(Semaphore::new(limits.memory.div_ceil(UNIT)));
        Self { index, certificates, limits, memory }
    }

    /// Every path.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/mutate-v1-pod-binding", post(bind))
            .route("/mutate-v1-pod-recording", post(record))
            .route("/validate-profile", post(check))
            .route("/validate-rawselinuxprofile", post(check))
            .route("/convert", post(convert_objects))
            .with_state(self.clone())
            .merge(self.probes())
    }

    /// `/livez` and `/readyz` alone.
    pub fn probes(&self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(self.clone())
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing here") })
    }
}

async fn ready(State(app): State<App>) -> Response {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let missing = [
        (!app.certificates.is_there()).then_some("no certificate yet"),
        app.certificates.has_ended(now).then_some("the certificate has expired"),
        app.index.get().is_none().then_some("the caches are not filled yet"),
    ];
    let missing: Vec<_> = missing.into_iter().flatten().collect();
    match missing.is_empty() {
        true => "ok\n".into_response(),
        false => problem(StatusCode::SERVICE_UNAVAILABLE, &missing.join(", ")),
    }
}

async fn bind(State(app): State<App>, request: Request) -> Response {
    admission(app, request, binding::admit).await
}

async fn record(State(app): State<App>, request: Request) -> Response {
    admission(app, request, |question, index| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        recording::admit(question, index, now.as_secs())
    })
    .await
}

async fn check(State(app): State<App>, request: Request) -> Response {
    admission(app, request, validate::admit).await
}

async fn convert_objects(State(app): State<App>, request: Request) -> Response {
    let limit = app.limits.conversion;
    answer(&app, request, limit, |bytes| convert::answer(&bytes)).await
}

async fn admission(app: App, request: Request, decide: fn(&Question, &Index) -> Answer) -> Response {
    let Some(index) = app.index.get() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet");
    };
    let limit = app.limits.admission;
    answer(&app, request, limit, move |bytes| {
        let review = Review::read(&bytes)?;
        drop(bytes);
        let answer = decide(&review.request, &index);
        review.answer(&answer).map_err(|e| Malformed::Json(e.to_string()))
    })
    .await
}

/// Reads a body, decides on a thread where deciding may take its time, and writes the answer.
async fn answer<F>(app: &App, request: Request, limit: usize, decide: F) -> Response
where
    F: FnOnce(Vec<u8>) -> Result<Vec<u8>, Malformed> + Send + 'static,
{
    let work = async {
        if let Err(response) = check_head(request.headers()) {
            return response;
        }
        let declared = declared_length(request.headers());
        if declared.is_some_and(|length| length > limit) {
            drain(request.into_body(), limit).await;
            return too_large(limit);
        }
        let Some(permit) = reserve(app, declared.unwrap_or(limit)).await else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
        };
        let bytes = match read(request.into_body(), limit).await {
            Ok(bytes) => bytes,
            Err(response) => return response,
        };
        let decided = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            decide(bytes)
        });
        match decided.await {
            Ok(Ok(bytes)) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Ok(Err(malformed)) => problem(StatusCode::BAD_REQUEST, &malformed.to_string()),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be decided"),
        }
    };
    within(app.limits.request, work).await
}

async fn within(limit: Duration, work: impl Future<Output = Response>) -> Response {
    timeout(limit, work)
        .await
        .unwrap_or_else(|_| problem(StatusCode::GATEWAY_TIMEOUT, "the request took too long"))
}

fn check_head(headers: &HeaderMap) -> Result<(), Response> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(problem(StatusCode::BAD_REQUEST, &format!("want application/json, not {kind:?}")))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The unit in which memory is counted: a semaphore counts in 32 bits.
const UNIT: usize = 1 << 10;

async fn reserve(app: &App, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let units = bytes.min(app.limits.memory).div_ceil(UNIT).max(1);
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    Arc::clone(&app.memory).acquire_many_owned(units).await.ok()
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Response> {
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| problem(StatusCode::BAD_REQUEST, "the body ended early"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads on for a while and forgets: a client that still writes would not see an answer.
async fn drain(body: Body, limit: usize) {
    let mut stream = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        read += chunk.len();
        if read > 4 * limit {
            return;
        }
    }
}

fn too_large(limit: usize) -> Response {
    problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {limit} bytes"))
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}
