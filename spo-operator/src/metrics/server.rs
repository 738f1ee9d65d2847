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

/// Something that counts.
pub trait Figures: Send + Sync + 'static {
    /// What is at a path, in the OpenMetrics format; `None` if nothing is.
    fn at(&self, path: &str) -> Option<Result<String, std::fmt::Error>>;
}

impl Figures for Metrics {
    fn at(&self, path: &str) -> Option<Result<String, std::fmt::Error>> {
        match path {
            PROCESS => Some(self.process()),
            SPOD => Some(self.spod()),
            _ => None,
        }
    }
}

/// A server of the paths alone; without a guard everybody may read.
pub fn router(figures: Arc<dyn Figures>, guard: Option<Guard>) -> Router {
    paths(figures, guard)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there are /metrics-spod and /metrics") })
}

/// The paths, for a server that has others.
pub fn paths(figures: Arc<dyn Figures>, guard: Option<Guard>) -> Router {
    Router::new()
        .route(PROCESS, get(|app, headers| at(PROCESS, app, headers)))
        .route(SPOD, get(|app, headers| at(SPOD, app, headers)))
        .with_state(App { figures, guard: guard.map(Arc::new) })
}

#[derive(Clone)]
struct App {
    figures: Arc<dyn Figures>,
    guard: Option<Arc<Guard>>,
}

async fn at(path: &str, State(app): State<App>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&app, path, &headers).await {
        return refusal;
    }
    match app.figures.at(path) {
        Some(text) => answer(text, &headers),
        None => problem(StatusCode::NOT_FOUND, "this process has no figures here"),
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
