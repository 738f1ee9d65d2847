//! The server: HTTP/1.1 over TLS, with limits on everything a client chooses.
//!
//! | what | limit |
//! | --- | --- |
//! | connections, handshakes, silence | [`serve::Limits`](crate::process::serve::Limits) |
//! | a body | [`Lane::body`] bytes; more is 413 |
//! | bodies that are being read | [`Lane::bodies`] bytes, counted as they arrive, and one more body; the others wait |
//! | what bodies become | [`Lane::work`] bytes; a body that would need more alone is 413, the others wait |
//! | a pause within a body | [`Limits::silence`]; then 408 |
//! | a request from its head to its answer | [`Limits::request`]; then 504 |
//!
//! Admission and conversion have a [`Lane`] each: pods do not wait for the lists of somebody else. A parsed body can be
//! a hundred times as large as its text, so each is weighed before it is parsed.
//!
//! `/metrics` is served here too, to those who may read it. `/livez` and `/readyz` are served here and, for a kubelet that comes before the certificate, without TLS on a port
//! of their own. Conversion works before the server is ready. The API server may need a conversion to answer the very
//! lists that fill the index (objects stored in an old version), so the Service that conversion is asked through has to
//! publish addresses that are not ready.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{StreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{self, AdmissionMetrics},
    process::{Pulse, certificate::Certificates},
};

use super::{
    binding, convert,
    index::{Index, Shared},
    recording,
    review::{Answer, Malformed, Request as Question, Review},
    validate,
    weight::Weight,
};

/// What a client can demand.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of AdmissionReviews. The API server takes objects up to 3 MiB, and an update has two.
    pub admission: Lane,
    /// Of ConversionReviews, which hold whole lists.
    pub conversion: Lane,
    /// The time without a byte of a body that has begun.
    pub silence: Duration,
    /// The time of a request.
    pub request: Duration,
}

/// What the requests of one sort may use.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// The bytes of a body.
    pub body: usize,
    /// The bytes of all bodies that are being read or worked on. One body more is always possible, so that bodies that
    /// have arrived in part do not wait for each other for ever.
    pub bodies: usize,
    /// The bytes that what is made of all bodies may take.
    pub work: usize,
}

impl Default for Limits {
    /// All of it together is less than what the webhook's pod may use (`render/webhooks.rs`).
    fn default() -> Self {
        Self {
            admission: Lane { body: 8 << 20, bodies: 16 << 20, work: 128 << 20 },
            conversion: Lane { body: 32 << 20, bodies: 32 << 20, work: 160 << 20 },
            silence: Duration::from_secs(3),
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
    admission: Budget,
    conversion: Budget,
    pulse: Pulse,
    stop: CancellationToken,
    metrics: Arc<AdmissionMetrics>,
    /// What serves what is counted.
    scrapes: Router,
}

impl App {
    /// The state of a server, which is ready until it is told to stop.
    pub fn new(
        index: Shared,
        certificates: Certificates,
        limits: Limits,
        pulse: Pulse,
        stop: CancellationToken,
    ) -> Self {
        let (admission, conversion) = (Budget::of(limits.admission), Budget::of(limits.conversion));
        let (metrics, scrapes) = (Arc::default(), Router::new());
        Self { index, certificates, limits, admission, conversion, pulse, stop, metrics, scrapes }
    }

    /// The same, and what it counts is served to those whom a guard lets through.
    #[must_use]
    pub fn guarded_by(self, guard: metrics::Guard) -> Self {
        let figures = Arc::clone(&self.metrics);
        Self { scrapes: metrics::server::paths(figures, Some(guard)), ..self }
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
            .merge(self.scrapes.clone())
            .merge(self.probes())
    }

    /// `/livez` and `/readyz` alone.
    pub fn probes(&self) -> Router {
        Router::new()
            .merge(self.pulse.probe())
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
        app.stop.is_cancelled().then_some("shutting down"),
    ];
    let missing: Vec<_> = missing.into_iter().flatten().collect();
    match missing.is_empty() {
        true => "ok\n".into_response(),
        false => problem(StatusCode::SERVICE_UNAVAILABLE, &missing.join(", ")),
    }
}

async fn bind(State(app): State<App>, request: Request) -> Response {
    admission(app, "binding", request, binding::admit).await
}

async fn record(State(app): State<App>, request: Request) -> Response {
    admission(app, "recording", request, |question, index| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        recording::admit(question, index, now.as_secs())
    })
    .await
}

async fn check(State(app): State<App>, request: Request) -> Response {
    admission(app, "validation", request, validate::admit).await
}

async fn convert_objects(State(app): State<App>, request: Request) -> Response {
    let lane = app.conversion.clone();
    // The answer is as long as the question and is written as it comes, one object after the other.
    let need = |bytes: &[u8]| {
        let weight = Weight::of(bytes);
        4 * bytes.len() + COPIES * weight.largest + 48 * weight.elements
    };
    let decide = |bytes: Vec<u8>| Ok((convert::answer(&bytes)?, Decided("converted")));
    counted(&app, "conversion", answer(&app, &lane, request, need, decide)).await
}

async fn admission(
    app: App,
    webhook: &'static str,
    request: Request,
    decide: fn(&Question, &Index) -> Answer,
) -> Response {
    let decided = async {
        let Some(index) = app.index.get() else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet");
        };
        let need = |bytes: &[u8]| COPIES * Weight::of(bytes).whole;
        answer(&app, &app.admission, request, need, move |bytes| {
            let review = Review::read(&bytes)?;
            drop(bytes);
            let answer = decide(&review.request, &index);
            let decided = Decided(if answer.refusal.is_none() { "allowed" } else { "refused" });
            let bytes = review.answer(&answer).map_err(|e| Malformed::Json(e.to_string()))?;
            Ok((bytes, decided))
        })
        .await
    };
    counted(&app, webhook, decided).await
}

/// What was decided, as metrics have it; it goes with the response.
#[derive(Clone, Copy, Debug)]
struct Decided(&'static str);

/// Counts a request by what came of it.
async fn counted(app: &App, webhook: &'static str, work: impl Future<Output = Response>) -> Response {
    let start = Instant::now();
    let response = work.await;
    let result = match (response.extensions().get(), response.status()) {
        (Some(Decided(result)), _) => result,
        (None, StatusCode::BAD_REQUEST) => "malformed",
        (None, StatusCode::PAYLOAD_TOO_LARGE) => "too_large",
        (None, StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT) => "late",
        (None, StatusCode::SERVICE_UNAVAILABLE) => "unavailable",
        (None, _) => "failed",
    };
    app.metrics.answered(webhook, result, start.elapsed());
    response
}

/// An object as it was sent, as it is read, and as it will be.
const COPIES: usize = 3;

/// Reads a body, decides on a thread where deciding may take its time, and writes the answer. `need` is what deciding
/// takes, in bytes.
async fn answer<F>(
    app: &App,
    lane: &Budget,
    request: Request,
    need: impl FnOnce(&[u8]) -> usize,
    decide: F,
) -> Response
where
    F: FnOnce(Vec<u8>) -> Result<(Vec<u8>, Decided), Malformed> + Send + 'static,
{
    let work = async {
        if let Err(response) = check_head(request.headers()) {
            return response;
        }
        let limit = lane.limits.body;
        if declared_length(request.headers()).is_some_and(|length| length > limit) {
            drain(request.into_body(), limit).await;
            return too_large(limit);
        }
        let (bytes, held) = match read(request.into_body(), lane, app.limits.silence).await {
            Ok(read) => read,
            Err(response) => return response,
        };
        let need = need(&bytes);
        if need > lane.limits.work {
            let text = format!(
                "the body would take {need} bytes of memory, and at most {} are there",
                lane.limits.work
            );
            return problem(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        let Ok(room) = Arc::clone(&lane.work).acquire_many_owned(units(need)).await else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
        };
        let decided = tokio::task::spawn_blocking(move || {
            let decided = decide(bytes);
            drop(held);
            (decided, room)
        });
        match decided.await {
            Ok((Ok((bytes, decided)), room)) => {
                let mut response = json(bytes, room);
                response.extensions_mut().insert(decided);
                response
            }
            Ok((Err(malformed), _)) => problem(StatusCode::BAD_REQUEST, &malformed.to_string()),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be decided"),
        }
    };
    within(app.limits.request, work).await
}

/// An answer that takes room until the client has taken it.
fn json(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Response {
    let length = bytes.len();
    let pieces = stream::unfold((Bytes::from(bytes), room), |(mut rest, room)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok::<_, std::convert::Infallible>(piece), (rest, room)))
    });
    let head =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    (head, Body::from_stream(pieces)).into_response()
}

/// How much of an answer is on its way at once.
const PIECE: usize = 64 << 10;

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

/// The memory of a lane.
#[derive(Clone, Debug)]
struct Budget {
    limits: Lane,
    bodies: Arc<Semaphore>,
    /// Whose holder reads on whatever the others hold.
    one_more: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

impl Budget {
    fn of(limits: Lane) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(UNIT)));
        let (bodies, work) = (semaphore(limits.bodies), semaphore(limits.work));
        Self { limits, bodies, one_more: Arc::new(Semaphore::new(1)), work }
    }
}

/// What a body that arrives holds of its lane.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    bodies: Option<OwnedSemaphorePermit>,
    one_more: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Holds so many bytes in all; waits until they can be had.
    async fn grow(&mut self, bytes: usize, lane: &Budget) {
        if self.one_more.is_some() || bytes <= self.bytes {
            return;
        }
        let more = Arc::clone(&lane.bodies).acquire_many_owned(units(bytes - self.bytes));
        tokio::select! {
            biased;
            Ok(more) = more => {
                self.bytes += more.num_permits() * UNIT;
                match &mut self.bodies {
                    Some(held) => held.merge(more),
                    none => *none = Some(more),
                }
            }
            Ok(one_more) = Arc::clone(&lane.one_more).acquire_owned() => self.one_more = Some(one_more),
        }
    }
}

/// The unit in which memory is counted: a semaphore counts in 32 bits.
const UNIT: usize = 4 << 10;

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

async fn read(body: Body, lane: &Budget, silence: Duration) -> Result<(Vec<u8>, Held), Response> {
    let (mut bytes, mut held) = (Vec::new(), Held::default());
    let mut stream = body.into_data_stream();
    loop {
        let chunk = match timeout(silence, stream.next()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok((bytes, held)),
            Err(_) => return Err(problem(StatusCode::REQUEST_TIMEOUT, "the body does not go on")),
        };
        let chunk = chunk.map_err(|_| problem(StatusCode::BAD_REQUEST, "the body ended early"))?;
        let length = bytes.len() + chunk.len();
        if length > lane.limits.body {
            return Err(too_large(lane.limits.body));
        }
        if length > bytes.capacity() {
            // Never more than one and a half of what arrived, and known before it is taken.
            let room = (length + length / 2).min(lane.limits.body);
            held.grow(room, lane).await;
            bytes.reserve_exact(room - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
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
