//! What the manager and the webhook have in common: a process without rights, three times, on different nodes where
//! there are any.

use serde_json::{Value, json};

use super::{object, pod_labels, selector};
use crate::cluster::names;

/// A process of which there are several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicas {
    /// What it is called.
    pub(super) name: &'static str,
    /// What it is a part of.
    pub(super) component: &'static str,
    /// Its service account.
    pub(super) account: &'static str,
}

/// The manager.
pub(super) const MANAGER: Replicas =
    Replicas { name: names::OPERATOR, component: "manager", account: names::OPERATOR };

/// The webhook.
pub(super) const WEBHOOK: Replicas =
    Replicas { name: names::WEBHOOK, component: "webhook", account: names::WEBHOOK_ACCOUNT };

impl Replicas {
    /// Its Deployment in a namespace, with this container and what that mounts.
    pub(super) fn deployment(self, namespace: &str, container: Value, volumes: Value) -> Value {
        let mut deployment = object("apps/v1", "Deployment", Some(namespace), self.name, self.component);
        deployment["metadata"]["labels"]["name"] = json!(self.name);
        deployment["spec"] = json!({
            "replicas": 3,
            "revisionHistoryLimit": 3,
            "selector": selector(self.name),
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 1 } },
            "template": {
                "metadata": { "labels": pod_labels(self.component, self.name) },
                "spec": {
                    "serviceAccountName": self.account,
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "fsGroup": names::UNPRIVILEGED,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "affinity": self.apart(),
                    "tolerations": control_plane(),
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        });
        deployment
    }

    /// How many may be away at once.
    pub(super) fn budget(self, namespace: &str) -> Value {
        let mut budget =
            object("policy/v1", "PodDisruptionBudget", Some(namespace), self.name, self.component);
        budget["spec"] = json!({
            "maxUnavailable": 1,
            "selector": selector(self.name),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        });
        budget
    }

    /// On different nodes as far as there are any.
    fn apart(self) -> Value {
        json!({
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{
                    "weight": 100,
                    "podAffinityTerm":
                        { "labelSelector": selector(self.name), "topologyKey": "kubernetes.io/hostname" },
                }],
            },
        })
    }
}

/// The taints of the control plane, where the replicas of small clusters may have to run.
fn control_plane() -> Value {
    json!([
        { "key": "node-role.kubernetes.io/master", "operator": "Exists", "effect": "NoSchedule" },
        { "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" },
    ])
}
