//! What the webhook counts.
//!
//! | metric | labels | says |
//! | --- | --- | --- |
//! | `security_profiles_operator_admission_request_total` | `webhook`, `result` | questions of the API server and what came of them |
//! | `…_admission_duration_seconds` | `webhook` | the time from a request's head to its answer |
//!
//! `webhook` is `binding`, `recording`, `validation` or `conversion`. `result` is `allowed` or `refused` for the first
//! three and `converted` for the last, or why there was no answer: `malformed`, `too_large`, `late`, `unavailable`,
//! `failed`.

use std::{fmt, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use super::{
    registry::{PREFIX, Process},
    server::{Figures, PROCESS},
};

/// Everything that is counted.
pub struct AdmissionMetrics {
    requests: Family<Labels, Counter>,
    took: Family<Labels, Histogram>,
    registry: Registry,
}

type Labels = Vec<(&'static str, &'static str)>;

impl Default for AdmissionMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl AdmissionMetrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let requests = Family::default();
        let took: Family<Labels, Histogram> = Family::new_with_constructor(|| Histogram::new(SECONDS));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register("admission_request", "Questions of the API server", requests.clone());
        ours.register_with_unit(
            "admission_duration",
            "The time that answering a question takes",
            Unit::Seconds,
            took.clone(),
        );
        ours.register("build", "The webhook", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Self { requests, took, registry }
    }

    /// Counts a question.
    pub fn answered(&self, webhook: &'static str, result: &'static str, took: Duration) {
        self.requests.get_or_create(&vec![("webhook", webhook), ("result", result)]).inc();
        self.took.get_or_create(&vec![("webhook", webhook)]).observe(took.as_secs_f64());
    }
}

/// Most answers take less than a millisecond; after ten seconds nobody waits any more.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];

impl fmt::Debug for AdmissionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionMetrics").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Figures for AdmissionMetrics {
    fn at(&self, path: &str) -> Option<Result<String, fmt::Error>> {
        (path == PROCESS).then(|| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
            Ok(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_counted_by_webhook_and_result() {
        let metrics = AdmissionMetrics::new();
        for result in ["allowed", "allowed", "refused"] {
            metrics.answered("binding", result, Duration::from_millis(2));
        }
        let text = metrics.at(PROCESS).expect("figures").expect("text");
        for line in [
            "security_profiles_operator_admission_request_total{webhook=\"binding\",result=\"allowed\"} 2\n",
            "security_profiles_operator_admission_request_total{webhook=\"binding\",result=\"refused\"} 1\n",
            "security_profiles_operator_admission_duration_seconds_count{webhook=\"binding\"} 3\n",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(metrics.at("/metrics-spod").is_none());
    }
}
