//! What the manager counts.
//!
//! | metric | labels | says |
//! | --- | --- | --- |
//! | `security_profiles_operator_profile_state` | `kind`, `state` | how many profiles stand there, on all nodes together |
//! | `…_profile_write_duration_seconds` | | the time from a decision about a profile to its end |
//! | `…_profile_write_total` | `result` | `done`, `conflict` (somebody else was faster), `failed` |
//!
//! Only the manager that leads knows where profiles stand; the others have no series of `profile_state`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram, info::Info,
    },
    registry::{Registry, Unit},
};
use spo_model::{kind::Kind, status::ProfileState};

use super::{
    registry::{PREFIX, Process},
    server::{Figures, PROCESS},
};

/// How many profiles of a kind are in a state.
pub type States = BTreeMap<(Kind, ProfileState), u64>;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was taken, or there was nothing left to write.
    Done,
    /// Somebody else was faster; what is new is looked at again.
    Conflict,
    /// It is tried again.
    Failed,
}

/// Everything that is counted.
pub struct ClusterMetrics {
    states: Arc<Gauges>,
    writes: Family<Vec<(&'static str, &'static str)>, Counter>,
    took: Histogram,
    registry: Registry,
}

#[derive(Debug, Default)]
struct Gauges(Mutex<States>);

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ClusterMetrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let states = Arc::new(Gauges::default());
        let (writes, took) =
            (Family::default(), Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register_collector(Box::new(Arc::clone(&states)));
        ours.register("profile_write", "Writes of status and finalizers of profiles", writes.clone());
        ours.register_with_unit(
            "profile_write_duration",
            "The time that writing a profile takes",
            Unit::Seconds,
            took.clone(),
        );
        ours.register("build", "The manager", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Self { states, writes, took, registry }
    }

    /// Takes note of where all profiles stand; what is not in it has no series any more.
    pub fn stand(&self, states: States) {
        *self.states.0.lock().unwrap_or_else(PoisonError::into_inner) = states;
    }

    /// Counts a write.
    pub fn wrote(&self, how: Written, took: Duration) {
        let result = match how {
            Written::Done => "done",
            Written::Conflict => "conflict",
            Written::Failed => "failed",
        };
        self.writes.get_or_create(&vec![("result", result)]).inc();
        self.took.observe(took.as_secs_f64());
    }
}

impl fmt::Debug for ClusterMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterMetrics").field("states", &self.states).finish_non_exhaustive()
    }
}

impl Figures for ClusterMetrics {
    fn at(&self, path: &str) -> Option<Result<String, fmt::Error>> {
        (path == PROCESS).then(|| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
            Ok(text)
        })
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "How many profiles are in a state, on all nodes together";
        let mut metric = encoder.encode_descriptor("profile_state", help, None, MetricType::Gauge)?;
        for ((kind, state), count) in states.iter() {
            let labels = [("kind", kind.to_string()), ("state", state.to_string())];
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_has_no_series() {
        let metrics = ClusterMetrics::new();
        let text = || metrics.at(PROCESS).expect("figures").expect("text");
        let series = "security_profiles_operator_profile_state{kind=\"SeccompProfile\",state=\"Installed\"}";
        metrics.stand(States::from([((Kind::SeccompProfile, ProfileState::Installed), 3)]));
        assert!(text().contains(&format!("{series} 3\n")), "{}", text());
        metrics.stand(States::new());
        assert!(!text().contains(series), "{}", text());
        assert!(metrics.at("/metrics-spod").is_none());
    }

    #[test]
    fn writes_are_counted_by_their_end() {
        let metrics = ClusterMetrics::new();
        for how in [Written::Done, Written::Done, Written::Conflict] {
            metrics.wrote(how, Duration::from_millis(20));
        }
        let text = metrics.at(PROCESS).expect("figures").expect("text");
        for line in [
            "security_profiles_operator_profile_write_total{result=\"done\"} 2\n",
            "security_profiles_operator_profile_write_total{result=\"conflict\"} 1\n",
            "security_profiles_operator_profile_write_duration_seconds_count 3\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
