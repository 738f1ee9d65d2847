//! The kinds of objects that a SPOD becomes.

use kube::{Api, Client, api::ApiResource};
use serde_json::Value;

/// A kind of object that is rendered.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiKind {
    /// Its API group, empty for the core.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its name, as documents spell it.
    pub kind: &'static str,
    /// Its name, as paths spell it.
    pub plural: &'static str,
    /// Whether its objects are in a namespace.
    pub namespaced: bool,
}

impl ApiKind {
    /// The kind of a document; `None` if it is none of [`KINDS`].
    pub fn of(object: &Value) -> Option<&'static Self> {
        let kind = KINDS.into_iter().find(|kind| object["kind"] == kind.kind)?;
        (object["apiVersion"] == kind.resource().api_version).then_some(kind)
    }

    /// As a client knows it.
    pub fn resource(&self) -> ApiResource {
        let api_version = match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        };
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// The objects of the kind; in this namespace if they are in one.
    pub fn api<K>(&self, client: &Client, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        match self.namespaced {
            true => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            false => Api::all_with(client.clone(), &self.resource()),
        }
    }
}

/// The agents.
pub const DAEMON_SETS: ApiKind = kind("apps", "v1", "DaemonSet", "daemonsets");
/// The webhook.
pub const DEPLOYMENTS: ApiKind = kind("apps", "v1", "Deployment", "deployments");
/// What finds the webhook and the metrics.
pub const SERVICES: ApiKind = kind("", "v1", "Service", "services");
/// How many replicas of the webhook may be away.
pub const BUDGETS: ApiKind = kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
/// What tells Prometheus of the metrics.
pub const MONITORS: ApiKind = kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors");
/// What the API server asks the webhook to change.
pub const MUTATING: ApiKind = ApiKind {
    namespaced: false,
    ..kind(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    )
};
/// What the API server asks the webhook to allow.
pub const VALIDATING: ApiKind = ApiKind {
    namespaced: false,
    ..kind(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
};

/// What says which kinds there are; followed, and not rendered.
pub const DEFINITIONS: ApiKind = ApiKind {
    namespaced: false,
    ..kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
};

/// The kinds that are rendered; nothing of another kind is applied or deleted.
pub static KINDS: [&ApiKind; 7] =
    [&DAEMON_SETS, &DEPLOYMENTS, &SERVICES, &BUDGETS, &MONITORS, &MUTATING, &VALIDATING];

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> ApiKind {
    ApiKind { group, version, kind, plural, namespaced: true }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_of_a_kind_by_its_name_and_its_version() {
        let of = |version: &str, kind: &str| ApiKind::of(&json!({ "apiVersion": version, "kind": kind }));
        assert_eq!(of("apps/v1", "DaemonSet"), Some(&DAEMON_SETS));
        assert_eq!(of("v1", "Service"), Some(&SERVICES));
        for other in [("apps/v1beta1", "DaemonSet"), ("serving.knative.dev/v1", "Service"), ("v1", "Secret")]
        {
            assert_eq!(of(other.0, other.1), None, "{other:?}");
        }
        assert_eq!(ApiKind::of(&Value::Null), None);
    }

    /// What there is one of in a cluster has no namespace in its path.
    #[test]
    fn webhook_configurations_are_in_no_namespace() {
        let outside: Vec<&str> = KINDS.iter().filter(|kind| !kind.namespaced).map(|kind| kind.kind).collect();
        assert_eq!(outside, ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]);
    }
}
