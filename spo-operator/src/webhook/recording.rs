//! Recording: which containers of a new pod are recorded, as annotations that the recorders read.
//!
//! | recording | annotation | security context |
//! | --- | --- | --- |
//! | seccomp from logs | `io.containers.trace-logs/<container>` | the seccomp profile that logs every syscall |
//! | seccomp by eBPF | `io.containers.trace-bpf/<container>` | as it is |
//! | SELinux from logs | `io.containers.trace-avcs/<container>` | the type `selinuxrecording.process` |
//! | AppArmor by eBPF | `io.containers.trace-bpf-apparmor/<container>` | as it is |
//!
//! The value is `<recording>_<container>_<nonce>_<seconds>`. Annotations of these names that a pod brings along are taken
//! out where this webhook is asked: when a pod is made, in a namespace with the label for recordings. In others, and on a
//! pod that is there, whoever may write pods can set them. So an annotation alone proves nothing to a recorder: it has to
//! look for a recording that selects the pod.
//!
//! Recording from logs loosens a container, so it never does that to one that a ProfileBinding confines. The binding
//! webhook is asked before this one, so what it has put into the pod is what tells; a binding in a namespace without the
//! label for bindings confines nothing.
//!
//! Only CREATE of pods is looked at: a pod's fields cannot be changed afterwards.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use spo_model::{
    kind::Scope,
    names::{NamespaceName, ProfileKey},
    recording::{ProfileKind, Recorder},
};

use super::{
    binding::Bindings,
    configuration::Configuration,
    index::{Index, Recording, Slot},
    pod,
    review::{Answer, Request, clip},
    warnings::Warnings,
};

/// The SELinux type under which everything is allowed and logged.
pub const SELINUX_TYPE: &str = "selinuxrecording.process";
/// The SeccompProfile that allows and logs every syscall; it is in the operator's namespace.
pub const LOG_PROFILE: &str = "log-enricher-trace";

/// Decides about a pod at a time, in seconds since 1970.
pub fn admit(request: &Request, index: &Index, seconds: u64) -> Answer {
    if !request.is_about_pods("", "CREATE") {
        return Answer::allow();
    }
    if pod::containers(&request.object, "containers").is_empty() {
        return Answer::invalid("the request holds no pod: spec.containers is missing or empty");
    }
    let labels = pod::labels(&request.object);
    let bindings = Bindings::of(index, &request.namespace, &labels);
    let mut changed = request.object.clone();
    let mut warnings = Warnings::default();
    disarm(&mut changed, &mut warnings);
    let stamp = format!("{}_{seconds}", nonce(&request.uid));
    let mut work = Work { request, index, bindings, pod: changed, warnings, stamp };
    let recordings: Vec<_> = index.recordings(&request.namespace, &labels).collect();
    if !recordings.is_empty()
        && let Some(excess) = pod::excess(&request.object)
    {
        return Answer::invalid(excess);
    }
    for recording in &recordings {
        match Method::of(recording) {
            Some(method) => work.record(recording, method),
            None => work.warn(recording, format_args!("this kind cannot be recorded by this recorder")),
        }
    }
    let memory = index.configuration().settings().and_then(|d| d.enable_memory_optimization).unwrap_or(false);
    if memory && !recordings.is_empty() {
        // With that option the recorders look at labelled pods only.
        label(&mut work.pod, TRACKED_LABEL, "true");
    }
    let patch = Some(json_patch::diff(&request.object, &work.pod));
    Answer { patch, warnings: work.warnings.into_lines(), ..Answer::allow() }
}

/// How something is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    SeccompLogs,
    SeccompBpf,
    SelinuxLogs,
    AppArmorBpf,
}

impl Method {
    const fn of(recording: &Recording) -> Option<Self> {
        match (recording.spec.kind, recording.spec.recorder) {
            (ProfileKind::SeccompProfile, Recorder::Logs) => Some(Self::SeccompLogs),
            (ProfileKind::SeccompProfile, Recorder::Bpf) => Some(Self::SeccompBpf),
            (ProfileKind::SelinuxProfile, Recorder::Logs) => Some(Self::SelinuxLogs),
            (ProfileKind::AppArmorProfile, Recorder::Bpf) => Some(Self::AppArmorBpf),
            (ProfileKind::SelinuxProfile, Recorder::Bpf) | (ProfileKind::AppArmorProfile, Recorder::Logs) => {
                None
            }
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::SeccompLogs => "io.containers.trace-logs/",
            Self::SeccompBpf => "io.containers.trace-bpf/",
            Self::SelinuxLogs => "io.containers.trace-avcs/",
            Self::AppArmorBpf => "io.containers.trace-bpf-apparmor/",
        }
    }

    const ALL: [Self; 4] = [Self::SeccompLogs, Self::SeccompBpf, Self::SelinuxLogs, Self::AppArmorBpf];
}

const TRACKED_LABEL: &str = "spo.x-k8s.io/enable-recording";

struct Work<'a> {
    request: &'a Request,
    index: &'a Index,
    bindings: Bindings<'a>,
    pod: Value,
    warnings: Warnings,
    stamp: String,
}

impl<'a> Work<'a> {
    fn record(&mut self, recording: &Recording, method: Method) {
        if !self.is_switched_on(method) {
            self.warn(recording, format_args!("its recorder is not switched on in the SecurityProfilesOperatorDaemon, or that cannot be read"));
            return;
        }
        let wanted = |name: &str| {
            recording.spec.containers.as_ref().is_none_or(|list| list.iter().any(|wanted| wanted == name))
        };
        let mut any = false;
        for list in ["initContainers", "containers"] {
            for (i, container) in pod::containers(&self.request.object, list).iter().enumerate() {
                if wanted(pod::name(container)) {
                    any = true;
                    self.record_container(recording, method, list, i, container);
                }
            }
        }
        if !any {
            self.warn(recording, format_args!("the pod has none of its containers"));
        }
    }

    fn record_container(
        &mut self,
        recording: &Recording,
        method: Method,
        list: &str,
        i: usize,
        container: &'a Value,
    ) {
        let name = pod::name(container);
        // `_` separates the parts of the value, and the key ends in the name.
        if name.parse::<NamespaceName>().is_err() {
            self.warn(recording, format_args!("container {:?} has no DNS label as its name", clip(name, 63)));
            return;
        }
        let key = format!("{}{name}", method.prefix());
        if let Some(there) = pod::annotation(&self.pod, &key) {
            let first = there.split('_').next().unwrap_or_default().to_owned();
            self.warn(recording, format_args!("container {name:?} is recorded by {first} already"));
            return;
        }
        let loosened = match method {
            Method::SeccompLogs => Some((Slot::Seccomp, self.log_profile())),
            Method::SelinuxLogs => Some((Slot::Selinux, SELINUX_TYPE.to_owned())),
            Method::SeccompBpf | Method::AppArmorBpf => None,
        };
        if let Some((slot, usage)) = loosened {
            if let Some(by) = self.confined_by(slot, container) {
                self.warn(recording, format_args!("container {name:?} is confined by ProfileBinding {by}"));
                return;
            }
            if pod::goes_without(container, slot) {
                let without = slot.name();
                self.warn(
                    recording,
                    format_args!(
                        "container {name:?} is privileged: it gets no {without}, so nothing is logged"
                    ),
                );
            }
            let before = pod::field(container, slot).map(|field| pod::meaning(field, slot));
            if let Some(before) = before.filter(|text| !text.is_empty() && *text != usage) {
                let what = slot.name();
                self.warn(
                    recording,
                    format_args!("it replaces the {what} {:?} of container {name:?}", clip(&before, 64)),
                );
            }
            let of_pod = pod::field(&self.pod["spec"], slot).filter(|_| slot == Slot::Selinux).cloned();
            if let Some(target) = pod::container_mut(&mut self.pod, list, i) {
                pod::confine(target, slot, &usage, of_pod.as_ref());
            }
            pod::confine_annotation(&mut self.pod, slot, Some(name), &usage);
        }
        pod::annotate(&mut self.pod, &key, &format!("{}_{name}_{}", recording.name, self.stamp));
    }

    /// The binding whose profile holds for a container.
    fn confined_by(&mut self, slot: Slot, container: &'a Value) -> Option<&'a str> {
        let binding = self.bindings.find(slot, pod::image(container))?.binding;
        let profile = self.index.profile(&self.request.namespace, binding.kind, &binding.profile)?;
        let field = pod::field_in_force(&self.request.object, container, slot);
        pod::says(field, slot, &profile.usage).then_some(binding.name.as_str())
    }

    /// The path of the profile that logs, from the one function that makes paths.
    fn log_profile(&self) -> String {
        let settings = self.index.settings();
        let namespace = match settings.scope {
            Scope::Namespaced => Some(settings.operator_namespace.as_str()),
            Scope::Cluster => None,
        };
        let path = ProfileKey::new(namespace, LOG_PROFILE).ok().and_then(|key| key.seccomp_path().ok());
        path.unwrap_or_default()
    }

    /// A recorder that is switched off, or may be, would leave the container loosened and record nothing.
    fn is_switched_on(&self, method: Method) -> bool {
        let daemon = match self.index.configuration() {
            Configuration::Absent => return true,
            Configuration::Unreadable(_) => return false,
            Configuration::Settings(daemon) => daemon,
        };
        let enricher = daemon.enricher.as_ref();
        let switch = match method {
            Method::SeccompLogs | Method::SelinuxLogs => enricher.and_then(|e| e.enable_log_enricher),
            Method::SeccompBpf | Method::AppArmorBpf => enricher.and_then(|e| e.enable_bpf_recorder),
        };
        switch.unwrap_or(false)
    }

    fn warn(&mut self, recording: &Recording, text: fmt::Arguments<'_>) {
        self.warnings.push(format_args!("ProfileRecording {}: {text}", recording.name));
    }
}

/// Takes out the annotations by which a pod would switch a recorder on itself.
fn disarm(pod: &mut Value, warnings: &mut Warnings) {
    let forged: Vec<String> = pod::annotations(pod)
        .into_keys()
        .filter(|key| Method::ALL.iter().any(|method| key.starts_with(method.prefix())))
        .collect();
    if forged.is_empty() {
        return;
    }
    if let Some(annotations) = pod::annotations_mut(pod) {
        for key in &forged {
            annotations.remove(key);
            warnings.push(format_args!("the annotation {} is set by recordings only", clip(key, 120)));
        }
    }
}

fn label(pod: &mut Value, key: &str, value: &str) {
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = metadata.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(key.to_owned(), Value::from(value));
        }
    }
}

/// Five letters that differ from request to request, and are the same when a request is asked twice.
fn nonce(uid: &str) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Sha256::digest(uid).iter().take(5).map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests;
