//! From a SPOD to objects: where the controller and what renders meet.

use serde_json::{Value, json};
use spo_model::object::SecurityProfilesOperatorDaemon;

use crate::cluster::names;

/// What the objects depend on besides the SPOD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// The operator's namespace.
    pub namespace: String,
    /// The operator's own image; `None` leaves the choice to what renders.
    pub image: Option<String>,
    /// When that is pulled.
    pub pull_policy: Option<String>,
    /// The Secrets with which that is pulled.
    pub pull_secrets: Vec<String>,
    /// The kubelet's directory on nodes.
    pub kubelet_dir: String,
    /// Whom the API server has to trust when it calls the webhook, as PEM.
    pub bundle: Option<String>,
    /// The namespaces that are looked at, as flags have them; empty means all.
    pub restrict_to: String,
    /// Whether profiles have no namespace.
    pub cluster_scope: bool,
    /// An owner reference for objects without a namespace.
    pub owner: Option<Value>,
    /// Whether the cluster has ServiceMonitors.
    pub service_monitors: bool,
}

/// What renders.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    /// Every object that a SPOD asks for.
    pub objects: fn(&SecurityProfilesOperatorDaemon, &Surroundings) -> Result<Vec<Value>, String>,
    /// What a SPOD asks for that cannot be had, in words.
    pub unavailable: fn(&SecurityProfilesOperatorDaemon, &Surroundings) -> Vec<&'static str>,
    /// The SPOD of a namespace that has none.
    pub default: fn(&str) -> Value,
}

/// The agents alone, until there is more.
pub const AGENTS: Renderer =
    Renderer { objects: agents, unavailable: |_, _| Vec::new(), default: default_spod };

fn agents(spod: &SecurityProfilesOperatorDaemon, around: &Surroundings) -> Result<Vec<Value>, String> {
    let name = spod.metadata.name.as_ref().ok_or("the SecurityProfilesOperatorDaemon has no name")?;
    let labels = json!({ names::APP_LABEL: names::OPERATOR, "name": name.as_str() });
    let uid = spod.metadata.other.get("uid").cloned().unwrap_or_default();
    let owner = json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SecurityProfilesOperatorDaemon",
        "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": false,
    });
    let scheduling = spod.spec.scheduling.clone().unwrap_or_default();
    Ok(vec![json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": around.namespace, "labels": labels, "ownerReferences": [owner] },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "serviceAccountName": names::AGENT_ACCOUNT,
                    "tolerations": scheduling.tolerations.unwrap_or_default(),
                    "containers": [{
                        "name": names::OPERATOR,
                        "image": around.image.as_deref().unwrap_or(names::OPERATOR),
                        "args": ["daemon"],
                    }],
                },
            },
        },
    })])
}

fn default_spod(namespace: &str) -> Value {
    json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": names::SPOD, "namespace": namespace, "labels": { names::APP_LABEL: names::OPERATOR } },
        "spec": {},
    })
}
