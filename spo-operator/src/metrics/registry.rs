//! What is counted.
//!
//! | metric | labels | counts |
//! | --- | --- | --- |
//! | `security_profiles_operator_seccomp_profile_total` | `operation` | files written (`update`) and removed (`delete`) |
//! | `…_seccomp_profile_error_total` | `reason` | profiles that could not be put on the node |
//! | `…_seccomp_profile_audit_total` | `node`, `namespace`, `pod`, `container`, `syscall` | audit lines |
//! | `…_seccomp_profile_bpf_total` | `node`, `mount_namespace`, `profile` | what the recorder found |
//! | `…_selinux_profile_total`, `…_error_total` | as for seccomp | |
//! | `…_selinux_profile_audit_total` | `node`, `namespace`, `pod`, `container`, `scontext`, `tcontext` | denials |
//! | `…_apparmor_profile_total` | `operation` | profiles loaded and unloaded |
//! | `…_apparmor_profile_error_total` | `profile`, `reason` | |
//! | `…_apparmor_profile_audit_total` | `node`, `namespace`, `pod`, `container`, `profile`, `operation`, `apparmor` | audit lines |
//! | `…_apparmor_profile_denial_total` | `profile`, `operation` | denials |
//!
//! Series of what is gone disappear: those of a profile with the round that does not find it any more, those of a pod
//! when whoever counts them says so ([`Metrics::forget_pod`]). `…_metric_dropped_total` with the label `metric`, among the
//! figures of the process, counts what had no room among the most series that a metric may have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family as Labelled,
        gauge::ConstGauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};
use spo_model::{kind::Kind, names::ProfileKey};

use crate::daemon::agent::Round;

/// The prefix of every metric of ours.
pub const PREFIX: &str = "security_profiles_operator";

/// The most series that one metric has; more are not counted, since who can make pods could otherwise make the agent
/// grow without end.
const SERIES: usize = 10_000;

/// A counter: its name without prefix and `_total`, its labels, and what it counts.
type Family = (&'static str, &'static [&'static str], &'static str);

const FAMILIES: [Family; 11] = [
    ("seccomp_profile", &["operation"], "Counter about seccomp profile operations"),
    ("seccomp_profile_error", &["reason"], "Counter about seccomp profile errors"),
    (
        "seccomp_profile_audit",
        &["node", "namespace", "pod", "container", "syscall"],
        "Counter about seccomp profile audits, requires the log-enricher to be enabled",
    ),
    (
        "seccomp_profile_bpf",
        &["node", "mount_namespace", "profile"],
        "Counter about seccomp profiles that the bpf recorder found",
    ),
    ("selinux_profile", &["operation"], "Counter about selinux profile operations"),
    ("selinux_profile_error", &["reason"], "Counter about selinux profile errors"),
    (
        "selinux_profile_audit",
        &["node", "namespace", "pod", "container", "scontext", "tcontext"],
        "Counter about selinux profile audits, requires the log-enricher to be enabled",
    ),
    ("apparmor_profile", &["operation"], "Counter about apparmor profile operations"),
    ("apparmor_profile_error", &["profile", "reason"], "Counter about apparmor profile errors"),
    (
        "apparmor_profile_audit",
        &["node", "namespace", "pod", "container", "profile", "operation", "apparmor"],
        "Counter about apparmor profile audits, requires the log-enricher to be enabled",
    ),
    ("apparmor_profile_denial", &["profile", "operation"], "Counter about apparmor denials"),
];

type Series = BTreeMap<Vec<String>, u64>;
type Dropped = Labelled<Vec<(&'static str, &'static str)>, Counter>;

/// Everything that is counted.
pub struct Metrics {
    counters: Arc<Counters>,
    /// By the counter that had no room.
    dropped: Dropped,
    /// The profiles of the last round.
    there: Mutex<BTreeSet<(Kind, String)>>,
    rounds: Histogram,
    spod: Registry,
    process: Registry,
}

#[derive(Debug, Default)]
struct Counters(Mutex<BTreeMap<&'static str, Series>>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let mut spod = Registry::with_prefix(PREFIX);
        spod.register_collector(Box::new(Arc::clone(&counters)));
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        let ours = process.sub_registry_with_prefix(PREFIX);
        let rounds = Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]);
        ours.register_with_unit(
            "reconcile_duration",
            "The time it takes to bring the node to what the cluster asks for",
            Unit::Seconds,
            rounds.clone(),
        );
        ours.register("build", "The agent", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        let dropped = Dropped::default();
        ours.register(
            "metric_dropped",
            "What was not counted: its metric has too many series",
            dropped.clone(),
        );
        Self { counters, dropped, there: Mutex::default(), rounds, spod, process }
    }

    /// Counts what a round did, and forgets the series of profiles that are not there any more.
    pub fn round(&self, round: &Round) {
        self.rounds.observe(round.took.as_secs_f64());
        for (counts, operation) in [(&round.updated, "update"), (&round.removed, "delete")] {
            for (kind, count) in counts {
                self.add(family(*kind), &[operation], *count);
            }
        }
        let subjects = round.standings.iter().map(|standing| &standing.subject);
        let there: BTreeSet<(Kind, String)> =
            subjects.map(|subject| (subject.kind(), subject.key.name.to_string())).collect();
        // Errors are only ever those of our own profiles.
        self.retain(|counter, labels| {
            let profile = labels("profile").unwrap_or_default();
            counter != "apparmor_profile_error"
                || there.contains(&(Kind::AppArmorProfile, profile.to_owned()))
        });
        let before = {
            let mut last = self.there.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, there.clone())
        };
        for (kind, name) in before.difference(&there) {
            self.forget_profile(*kind, name);
        }
    }

    /// Forgets the series of a profile that is gone.
    pub fn forget_profile(&self, kind: Kind, name: &str) {
        self.retain(|counter, labels| {
            let profile = labels("profile").unwrap_or_default();
            match kind {
                Kind::AppArmorProfile => !counter.starts_with("apparmor_") || profile != name,
                // The recorder knows the annotation, from which the profile's name is made.
                Kind::SeccompProfile => !counter.starts_with("seccomp_") || recorded(profile) != name,
                _ => true,
            }
        });
    }

    /// Forgets the series of a pod that is gone.
    pub fn forget_pod(&self, namespace: &str, name: &str) {
        self.retain(|_, labels| labels("namespace") != Some(namespace) || labels("pod") != Some(name));
    }

    /// Keeps the series for which this holds, given the counter's name and a series' value of a label.
    fn retain(&self, keep: impl for<'s> Fn(&str, &dyn Fn(&str) -> Option<&'s str>) -> bool) {
        let mut all = self.counters.lock();
        for (counter, names, _) in FAMILIES {
            if let Some(series) = all.get_mut(counter) {
                series.retain(|values, _| {
                    let place = |label: &str| names.iter().position(|name| *name == label);
                    keep(counter, &|label| values.get(place(label)?).map(String::as_str))
                });
            }
        }
    }

    /// Counts a profile that could not be put on the node.
    pub fn error(&self, kind: Kind, key: &ProfileKey, reason: &str) {
        match kind {
            Kind::AppArmorProfile => self.add("apparmor_profile_error", &[key.name.as_str(), reason], 1),
            Kind::SelinuxProfile | Kind::RawSelinuxProfile => self.add("selinux_profile_error", &[reason], 1),
            _ => self.add("seccomp_profile_error", &[reason], 1),
        }
    }

    /// Counts `by` more under some labels of a counter, which have to be as many as it has.
    pub fn add(&self, counter: &'static str, labels: &[&str], by: u64) {
        let known = FAMILIES.iter().any(|(name, names, _)| *name == counter && names.len() == labels.len());
        if !known {
            tracing::error!(counter, "there is no such counter");
            return;
        }
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut all = self.counters.lock();
        let series = all.entry(counter).or_default();
        if series.len() < SERIES || series.contains_key(&labels) {
            let count = series.entry(labels).or_default();
            *count = count.saturating_add(by);
        } else {
            self.dropped.get_or_create(&vec![("metric", counter)]).inc_by(by);
        }
    }

    /// The profile counters in the OpenMetrics format.
    ///
    /// # Errors
    /// Never: a `String` takes everything.
    pub fn spod(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.spod)?;
        Ok(text)
    }

    /// The figures of the process in the OpenMetrics format.
    ///
    /// # Errors
    /// Never: a `String` takes everything.
    pub fn process(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.process)?;
        Ok(text)
    }
}

/// The profile that a recording makes, by its annotation `<recording>_<container>_<nonce>_<seconds>`; another text is the
/// name of a profile itself.
fn recorded(label: &str) -> String {
    match label.split('_').collect::<Vec<_>>()[..] {
        [recording, container, _, _] => format!("{recording}-{container}"),
        _ => label.to_owned(),
    }
}

const fn family(kind: Kind) -> &'static str {
    match kind {
        Kind::AppArmorProfile => "apparmor_profile",
        Kind::SelinuxProfile | Kind::RawSelinuxProfile => "selinux_profile",
        _ => "seccomp_profile",
    }
}

impl Collector for Counters {
    /// Every counter, those without series too: a dashboard finds what it asks for from the start.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.lock();
        for (name, labels, help) in FAMILIES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (values, count) in all.get(name).into_iter().flatten() {
                let set: Vec<(&str, &str)> =
                    labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                ConstCounter::new(*count).encode(metric.encode_family(&set)?)?;
            }
        }
        Ok(())
    }
}

/// What the kernel says about this process, under the names that every Prometheus client has.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(usage) = Usage::read() else { return Ok(()) };
        let (cpu, bytes) = (Unit::Seconds, Unit::Bytes);
        let metric = encoder.encode_descriptor("process_cpu", "CPU time", Some(&cpu), MetricType::Counter)?;
        ConstCounter::new(usage.cpu_seconds).encode(metric)?;
        for (name, help, value) in [
            ("process_resident_memory", "Memory in RAM", usage.resident),
            ("process_virtual_memory", "Address space", usage.virtual_memory),
        ] {
            let metric = encoder.encode_descriptor(name, help, Some(&bytes), MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        let start = "Start of the process since the epoch";
        let metric = encoder.encode_descriptor("process_start_time", start, Some(&cpu), MetricType::Gauge)?;
        ConstGauge::new(usage.started).encode(metric)?;
        let open = encoder.encode_descriptor("process_open_fds", "Open files", None, MetricType::Gauge)?;
        ConstGauge::new(usage.files).encode(open)
    }
}

/// What `/proc` says; see proc(5).
#[derive(Debug)]
struct Usage {
    cpu_seconds: f64,
    resident: i64,
    virtual_memory: i64,
    started: f64,
    files: i64,
}

impl Usage {
    fn read() -> Option<Self> {
        // The second field is a name in parentheses that may hold anything; the third follows the last of them.
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = i64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / ticks,
            resident: fields.get(24 - 3)?.parse::<i64>().ok()?.checked_mul(page)?,
            virtual_memory: fields.get(23 - 3)?.parse().ok()?,
            started: boot + number(22)? / ticks,
            files: i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text::Format;

    fn spod(metrics: &Metrics) -> String {
        Format::Classical.of(metrics.spod().expect("text"))
    }

    /// The guide's dashboards ask for these five.
    #[test]
    fn every_counter_is_there_from_the_start() {
        let text = spod(&Metrics::new());
        for name in [
            "seccomp_profile_total",
            "seccomp_profile_audit_total",
            "seccomp_profile_bpf_total",
            "seccomp_profile_error_total",
            "selinux_profile_total",
            "selinux_profile_audit_total",
            "selinux_profile_error_total",
            "apparmor_profile_total",
            "apparmor_profile_audit_total",
            "apparmor_profile_denial_total",
            "apparmor_profile_error_total",
        ] {
            assert!(text.contains(&format!("# TYPE {PREFIX}_{name} counter\n")), "{name}: {text}");
            assert!(text.contains(&format!("# HELP {PREFIX}_{name} ")), "{name}: {text}");
        }
    }

    #[test]
    fn what_is_counted_has_its_labels() {
        let metrics = Metrics::new();
        metrics.add("seccomp_profile_audit", &["n", "ns", "p\"od", "c", "read"], 2);
        metrics.add("seccomp_profile_audit", &["n", "ns", "p\"od", "c", "read"], 1);
        metrics.add("seccomp_profile_audit", &["too", "few"], 1);
        metrics.add("no_such", &[], 1);
        let want = "seccomp_profile_audit_total{node=\"n\",namespace=\"ns\",pod=\"p\\\"od\",container=\"c\",\
                    syscall=\"read\"} 3\n";
        let text = spod(&metrics);
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("too"), "{text}");
    }

    #[test]
    fn series_of_what_is_gone_disappear() {
        let metrics = Metrics::new();
        let key = ProfileKey::new(Some("production"), "web").expect("a key");
        metrics.error(Kind::AppArmorProfile, &key, "CannotLoadAppArmorProfile");
        assert!(spod(&metrics).contains("profile=\"web\""));
        metrics.round(&Round::default());
        assert!(!spod(&metrics).contains("profile=\"web\""));
    }

    #[test]
    fn series_of_a_deleted_profile_disappear_and_no_others() {
        let metrics = Metrics::new();
        let audit = |profile| ["n", "ns", "pod", "c", profile, "open", "DENIED"];
        for profile in ["web", "docker-default"] {
            metrics.add("apparmor_profile_audit", &audit(profile), 1);
            metrics.add("apparmor_profile_denial", &[profile, "open"], 1);
        }
        for profile in ["web", "rec_ctr_abcde_1700000000", "other"] {
            metrics.add("seccomp_profile_bpf", &["n", "1", profile], 1);
        }
        metrics.forget_profile(Kind::SelinuxProfile, "web");
        assert_eq!(spod(&metrics).matches("\"web\"").count(), 3);
        metrics.forget_profile(Kind::AppArmorProfile, "web");
        assert_eq!(spod(&metrics).matches("\"web\"").count(), 1);
        metrics.forget_profile(Kind::SeccompProfile, "web");
        metrics.forget_profile(Kind::SeccompProfile, "rec-ctr");
        let text = spod(&metrics);
        assert!(!text.contains("\"web\"") && !text.contains("rec_ctr"), "{text}");
        assert_eq!((text.matches("docker-default").count(), text.matches("\"other\"").count()), (2, 1));
    }

    #[test]
    fn series_of_a_deleted_pod_disappear_and_no_others() {
        let metrics = Metrics::new();
        for (namespace, pod) in [("a", "web"), ("a", "other"), ("b", "web")] {
            metrics.add("seccomp_profile_audit", &["n", namespace, pod, "c", "read"], 1);
            metrics.add("selinux_profile_audit", &["n", namespace, pod, "c", "s", "t"], 1);
            metrics.add("apparmor_profile_audit", &["n", namespace, pod, "c", "p", "open", "DENIED"], 1);
        }
        metrics.forget_pod("a", "web");
        let text = spod(&metrics);
        assert_eq!(text.matches("namespace=\"a\",pod=\"web\"").count(), 0, "{text}");
        assert_eq!(text.matches("namespace=\"a\",pod=\"other\"").count(), 3);
        assert_eq!(text.matches("namespace=\"b\",pod=\"web\"").count(), 3);
    }

    #[test]
    fn series_are_not_without_number() {
        let metrics = Metrics::new();
        for i in 0..SERIES + 100 {
            metrics.add("seccomp_profile_error", &[&i.to_string()], 1);
        }
        assert_eq!(spod(&metrics).matches("seccomp_profile_error_total{").count(), SERIES);
        let text = Format::Classical.of(metrics.process().expect("text"));
        let dropped =
            "security_profiles_operator_metric_dropped_total{metric=\"seccomp_profile_error\"} 100\n";
        assert!(text.contains(dropped), "{text}");
    }

    #[test]
    fn the_process_tells_about_itself() {
        let metrics = Metrics::new();
        metrics.round(&Round { took: std::time::Duration::from_millis(3), ..Round::default() });
        let text = Format::Classical.of(metrics.process().expect("text"));
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or_default()
        };
        assert!(value("process_resident_memory_bytes") > 1e6, "{text}");
        // After 2020, before the end of this century.
        assert!((1.6e9..4e9).contains(&value("process_start_time_seconds")), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.contains("security_profiles_operator_reconcile_duration_seconds_count 1\n"), "{text}");
        assert!(text.contains("security_profiles_operator_build_info{version=\""), "{text}");
    }
}
