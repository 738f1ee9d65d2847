//! What the operator's configuration becomes in a cluster: a pure function from one SecurityProfilesOperatorDaemon to
//! objects.
//!
//! ```text
//! SPOD + environment ──spod──► [DaemonSet, webhook Deployment, Service, configurations, …] ──server-side apply──► cluster
//! scope + image ──manifests::files──► deploy/*.yaml, chart
//! ```
//!
//! Nothing is read from what is there, so nothing sticks: a feature that is switched off leaves no privilege, mount or
//! argument behind. Objects of a namespace are owned by the SPOD. The webhook configurations have no namespace, which
//! is why a SPOD cannot own them; [`Environment::owner`] does, a ClusterRole of the manifest, so that deleting the
//! manifest deletes them too.

pub mod account;
mod agent;
mod chart;
mod container;
pub mod manifests;
mod monitoring;
pub mod own;
mod policy;
mod replicas;
pub mod service_ca;
mod webhooks;

use serde_json::{Map, Value, json};
use spo_model::{
    daemon::{DaemonSpec, ModeContradiction, WebhookMode, WebhookSettings},
    kind::{GROUP, Kind, Version},
    object::SecurityProfilesOperatorDaemon,
};

pub use self::monitoring::MANAGER_SERVICE;
use crate::cluster::names;

/// The image that manifests name unless they are told another.
pub const IMAGE: &str = "ghcr.io/security-profiles/spo-rs:v0.1.0";

/// The kubelet's directory unless a cluster has it elsewhere.
pub const KUBELET_DIR: &str = "/var/lib/kubelet";

/// What the objects depend on besides the SPOD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The operator's namespace.
    pub namespace: String,
    /// The image of every container; the manager takes its own.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent leaves it to the API server.
    pub pull_policy: Option<String>,
    /// Secrets for pulling, besides those of the SPOD.
    pub pull_secrets: Vec<String>,
    /// The kubelet's directory on nodes.
    pub kubelet_dir: String,
    /// The authority that signed the webhook's certificate, as PEM.
    pub ca_bundle: Option<String>,
    /// Whether certificates come from OpenShift's service CA.
    pub service_ca: bool,
    /// The namespaces that are looked at, as `RESTRICT_TO_NAMESPACE` has them; empty means all.
    pub restrict_to: String,
    /// Whether profiles have no namespace.
    pub cluster_scope: bool,
    /// What owns the objects that have no namespace: an owner reference.
    pub owner: Option<Value>,
    /// Whether the cluster has ServiceMonitors.
    pub service_monitors: bool,
    /// Whether the Secret with a token that may read the metrics is part of the installation.
    pub metrics_token: bool,
    /// Whether SELinux is on unless the SPOD says otherwise; OpenShift's nodes always have it.
    pub selinux_by_default: bool,
    /// Whether this build has the processes of the recorders. Without them their containers would only crash, so they
    /// are left out and [`unavailable`] names them.
    pub recorders: bool,
}

impl Environment {
    /// An operator in its own namespace with the default image.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            image: IMAGE.to_owned(),
            pull_policy: None,
            pull_secrets: Vec::new(),
            kubelet_dir: KUBELET_DIR.to_owned(),
            ca_bundle: None,
            service_ca: false,
            restrict_to: String::new(),
            cluster_scope: false,
            owner: None,
            service_monitors: false,
            metrics_token: true,
            selinux_by_default: false,
            recorders: false,
        }
    }
}

/// Why a SPOD cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The SPOD has no name.
    #[error("the SecurityProfilesOperatorDaemon has no name")]
    Unnamed,
    /// The kubelet's directory cannot be mounted.
    #[error("{0:?} is no absolute path without `..`")]
    KubeletDir(String),
    /// The SPOD says two things about the webhook.
    #[error(transparent)]
    Webhook(#[from] ModeContradiction),
    /// What the chart's values became is no JSON object.
    #[error("SPO_SPOD is no JSON object: {0}")]
    Values(String),
}

/// Every object that a SPOD asks for, in the order in which they should be applied: what pods depend on comes first.
///
/// # Errors
/// [`RenderError`] if the SPOD or the environment lacks what every object needs.
pub fn spod(
    spod: &SecurityProfilesOperatorDaemon,
    environment: &Environment,
) -> Result<Vec<Value>, RenderError> {
    let name = spod.metadata.name.as_ref().ok_or(RenderError::Unnamed)?.as_str();
    let dir = &environment.kubelet_dir;
    if !dir.starts_with('/') || dir.len() < 2 || dir.split('/').any(|part| part == "..") {
        return Err(RenderError::KubeletDir(dir.clone()));
    }
    let mut objects = monitoring::services(environment);
    let mode =
        spod.spec.webhook.as_ref().map_or(Ok(WebhookMode::default()), WebhookSettings::effective_mode)?;
    // Without admission too: it converts between versions.
    if mode != WebhookMode::Static {
        objects.extend(webhooks::workload(&spod.spec, environment));
    }
    objects.push(agent::daemon_set(name, &spod.spec, environment));
    if environment.service_monitors {
        objects.extend(monitoring::service_monitors(&spod.spec, mode != WebhookMode::Static, environment));
    }
    if let Some(owner) = owner(spod) {
        for object in &mut objects {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
    }
    if mode == WebhookMode::Managed {
        objects.extend(webhooks::configurations(&spod.spec, environment));
    }
    Ok(objects)
}

/// What a SPOD asks for that this build does not have, in words for its conditions.
pub fn unavailable(spod: &SecurityProfilesOperatorDaemon, environment: &Environment) -> Vec<&'static str> {
    let enricher = spod.spec.enricher.as_ref();
    let on = |value: Option<bool>| value == Some(true);
    let recorders = [
        (enricher.is_some_and(|e| on(e.enable_log_enricher)), "the log enricher"),
        (enricher.is_some_and(|e| on(e.enable_json_enricher)), "the JSON enricher"),
        (enricher.is_some_and(|e| on(e.enable_bpf_recorder)), "the eBPF recorder"),
    ];
    let mut missing: Vec<&'static str> = Vec::new();
    if !environment.recorders {
        missing.extend(recorders.into_iter().filter_map(|(asked, what)| asked.then_some(what)));
    }
    if on(spod.spec.enable_profiling) {
        missing.push("profiling endpoints");
    }
    missing
}

/// The SPOD that the manager makes when there is none.
///
/// The groups whose fields have an old, flat place (`enricher`, `selinux`, `webhook`, `security`) are left out: the API
/// server would fill them with defaults, and a patch of the flat place would then contradict the group.
pub fn default_spod(namespace: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{}", Version::V1),
        "kind": Kind::SecurityProfilesOperatorDaemon.as_str(),
        "metadata": {
            "name": names::SPOD,
            "namespace": namespace,
            "labels": { names::APP_LABEL: names::OPERATOR },
        },
        "spec": {},
    })
}

/// The same where the webhook's objects are in the manifest and not the manager's to make.
pub fn static_spod(namespace: &str) -> Value {
    let mut spod = default_spod(namespace);
    spod["spec"] = json!({ "webhook": { "staticConfig": true } });
    spod
}

/// The SPOD that the chart's values ask for, whose spec the manager is given as JSON in `SPO_SPOD`: to be applied by the
/// server under a field manager of its own, so that a value that is taken back goes and what others patched stays.
///
/// # Errors
/// [`RenderError::Values`] if the text is no JSON object.
pub fn configured_spod(namespace: &str, spec: &str) -> Result<Value, RenderError> {
    let values: Map<String, Value> =
        serde_json::from_str(spec).map_err(|error| RenderError::Values(error.to_string()))?;
    let mut spod = default_spod(namespace);
    spod["spec"] = Value::Object(values);
    Ok(spod)
}

fn owner(spod: &SecurityProfilesOperatorDaemon) -> Option<Value> {
    let uid = spod.metadata.other.get("uid")?.as_str()?;
    Some(json!({
        "apiVersion": format!("{GROUP}/{}", Version::V1),
        "kind": Kind::SecurityProfilesOperatorDaemon.as_str(),
        "name": spod.metadata.name.as_ref()?.as_str(),
        "uid": uid,
        "controller": true,
        "blockOwnerDeletion": false,
    }))
}

/// The labels of an object: those of the existing operator, and those that tools look for.
fn labels(component: &str) -> Value {
    json!({
        names::APP_LABEL: names::OPERATOR,
        "app.kubernetes.io/name": names::OPERATOR,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": names::OPERATOR,
    })
}

/// The labels of a workload's pods: those of [`labels`] and the one that selectors go by.
fn pod_labels(component: &str, name: &str) -> Value {
    let mut labels = labels(component);
    labels["name"] = json!(name);
    labels
}

/// Which pods belong to a workload; the same as with the existing operator, for a selector cannot be changed.
fn selector(name: &str) -> Value {
    json!({ "matchLabels": { names::APP_LABEL: names::OPERATOR, "name": name } })
}

/// A field of an object unless it is absent.
fn put(object: &mut Value, field: &str, value: Option<Value>) {
    if let (Some(fields), Some(value)) = (object.as_object_mut(), value) {
        fields.insert(field.to_owned(), value);
    }
}

/// A value as data; what cannot be is absent.
fn data<T: serde::Serialize>(value: Option<&T>) -> Option<Value> {
    serde_json::to_value(value?).ok()
}

/// Lets a pod run on nodes whose agent is not ready yet.
fn tolerate_startup_taint(pod: &mut Value) {
    if let Some(tolerations) = pod["tolerations"].as_array_mut() {
        tolerations.push(json!({ "key": names::STARTUP_TAINT, "operator": "Exists" }));
    }
}

/// Whether the manager takes that taint off.
fn has_startup_taint(spec: &DaemonSpec) -> bool {
    spec.scheduling.as_ref().is_some_and(|scheduling| scheduling.startup_taint == Some(true))
}

/// References to Secrets for pulling, each once.
fn pull_secrets(
    own: Option<&Vec<spo_model::kubernetes::LocalObjectReference>>,
    more: &[String],
) -> Option<Value> {
    let all: std::collections::BTreeSet<&str> = own
        .into_iter()
        .flatten()
        .map(|secret| secret.name.as_str())
        .chain(more.iter().map(String::as_str))
        .collect();
    let list: Vec<Value> =
        all.into_iter().filter(|name| !name.is_empty()).map(|name| json!({ "name": name })).collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

/// An object without spec.
fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str, component: &str) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("labels".to_owned(), labels(component));
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

#[cfg(test)]
mod tests;
