//! `/metrics-spod` and `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{
    guard::{Answer, Guard},
    registry::Metrics,
    text::Format,
};

/// The path of the figures of the process.
pub const PROCESS: &str = "/metrics";

/// The path of the counters about profiles.
pub const SPOD: &str = "/metrics-spod";

/// The paths; without a guard everybody may read.
pub fn router(metrics: Arc<Metrics>, guard: Option<Guard>) -> Router {
    Router::new()
        .route(PROCESS, get(process))
        .route(SPOD, get(spod))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there are /metrics-spod and /metrics") })
        .with_state(App { metrics, guard: guard.map(Arc::new) })
}

#[derive(Clone)]
struct App {
    metrics: Arc<Metrics>,
    guard: Option<Arc<Guard>>,
}

async fn process(State(app): State<App>, headers: HeaderMap) -> Response {
    match refusal(&app, PROCESS, &headers).await {
        Some(refusal) => refusal,
        None => answer(app.metrics.process(), &headers),
    }
}

async fn spod(State(app): State<App>, headers: HeaderMap) -> Response {
    match refusal(&app, SPOD, &headers).await {
        Some(refusal) => refusal,
        None => answer(app.metrics.spod(), &headers),
    }
}

async fn refusal(app: &App, path: &str, headers: &HeaderMap) -> Option<Response> {
    let guard = app.guard.as_ref()?;
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match guard.ask(authorization, path).await {
        Answer::Allowed => None,
        Answer::Unknown(reason) => {
            let mut response = problem(StatusCode::UNAUTHORIZED, &reason);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            Some(response)
        }
        Answer::Forbidden(reason) => Some(problem(StatusCode::FORBIDDEN, &reason)),
        Answer::Unavailable(reason) => Some(problem(StatusCode::SERVICE_UNAVAILABLE, &reason)),
    }
}

fn answer(text: Result<String, std::fmt::Error>, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::asked(accept);
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], format.of(text)).into_response(),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
    }
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}
